"""The registries and slow links that a benchmark runs against, each on a port of its own and stopped by its pid."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path


def free_port() -> int:
    """A port on which nobody listens at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Waits until somebody listens there.

    Raises:
        RuntimeError: the process ended, or ten seconds passed.
    """
    end = time.monotonic() + 10
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.01)
    raise RuntimeError(f"nothing listens on port {port}")


@contextlib.contextmanager
def stopped_at_the_end(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Ends a process when the block is left."""
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


@contextlib.contextmanager
def registry(folder: Path) -> Iterator[str]:
    """A docker-registry over a folder; gives its host."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "config.yml"
    config.write_text(
        "version: 0.1\n"
        "log: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder / 'data'}}}, delete: {{enabled: true}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
    )
    with (folder / "registry.log").open("ab") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(config)], stdout=log, stderr=log)
    with stopped_at_the_end(process):
        wait_for(port, process)
        yield f"127.0.0.1:{port}"


@contextlib.contextmanager
def empty_registry(folder: Path) -> Iterator[str]:
    """A registry without content, forgotten at the end."""
    shutil.rmtree(folder, ignore_errors=True)
    with registry(folder) as host:
        yield host
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def slow_link(host: str, milliseconds: float, megabits: float = 0) -> Iterator[str]:
    """A slow way to a server: ``milliseconds`` of round trip and, if given, so many Mbit/s a connection."""
    port = free_port()
    words = [str(port), host.rpartition(":")[2], str(milliseconds / 2), str(megabits)]
    process = subprocess.Popen([sys.executable, "-m", "bench.latency_proxy", *words])
    with stopped_at_the_end(process):
        wait_for(port, process)
        yield f"127.0.0.1:{port}"
