"""Hosts whose SSH servers do less than OpenSSH's, or take less."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest
from paramiko.auth_handler import AuthHandler
from paramiko.common import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    MSG_KEXINIT,
    OPEN_FAILED_UNKNOWN_CHANNEL_TYPE,
    OPEN_SUCCEEDED,
)

from imgmove.errors import AccessDenied, ServerRefused
from imgmove.model.location import SshHost
from imgmove.model.ssh import SshAccess
from imgmove.wire.ssh import SshConnection, SshHosts
from imgmove.wire.ssh.errors import ConnectionBroke


class FilesOnly(paramiko.ServerInterface):
    """A host that takes sessions of whoever has the right key, and does nothing in them; nor does it know other channels."""

    def __init__(self, key: paramiko.PKey, wakes: threading.Event) -> None:
        self._key = key
        self._wakes = wakes
        self._questions = 0

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return AUTH_SUCCESSFUL if key == self._key else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED

    def check_global_request(self, kind: str, msg: paramiko.Message) -> bool:
        """Falls asleep at the second question."""
        self._questions += 1
        if self._questions > 1:
            self._wakes.wait(60)
        return False

    def check_channel_direct_tcpip_request(self, *_: Any) -> int:
        return OPEN_FAILED_UNKNOWN_CHANNEL_TYPE


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[SshConnection]:
    wrong, right, host = (paramiko.ECDSAKey.generate() for _ in range(3))
    for name, key in (("wrong", wrong), ("right", right)):
        key.write_private_key_file(str(tmp_path / name))
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        wakes = threading.Event()
        port = server.getsockname()[1]
        (tmp_path / "known").write_text(f"[127.0.0.1]:{port} {host.get_name()} {host.get_base64()}\n")
        (tmp_path / "config").write_text(
            f"IdentityFile {tmp_path / 'wrong'}\nIdentityFile {tmp_path / 'right'}\nServerAliveInterval 1\n"
        )

        def serve() -> None:
            transport = paramiko.Transport(server.accept()[0])
            stack.callback(transport.close)
            stack.callback(wakes.set)
            transport.add_server_key(host)
            transport.start_server(threading.Event(), FilesOnly(right, wakes))

        threading.Thread(target=serve, daemon=True).start()
        access = SshAccess(
            home=str(tmp_path),
            user="ops",
            config_files=(str(tmp_path / "config"),),
            known_hosts=str(tmp_path / "known"),
            timeout=1,
        )
        hosts = SshHosts(access)
        stack.callback(hosts.close)
        yield hosts.connection(SshHost("127.0.0.1", "ops", port))


def test_it_is_asked_once_however_many_keys_are_shown(
    connection: SshConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[None] = []

    usual = vars(AuthHandler)["_parse_service_request"]

    def once(handler: Any, message: Any) -> None:
        asked.append(None)
        assert len(asked) == 1, "there are hosts that hang up here"
        usual(handler, message)

    monkeypatch.setattr(AuthHandler, "_parse_service_request", once)
    connection.open_session().close()
    assert asked


def test_a_host_that_does_no_more_than_files(connection: SshConnection) -> None:
    with pytest.raises(ServerRefused, match="runs no programs for us"):
        connection.run("true")
    with pytest.raises(AccessDenied, match="makes no connection to registry:5000 for us"):
        connection.connect_tcp("registry", 5000)


def test_a_host_that_gives_no_sign_of_life_any_more(connection: SshConnection) -> None:
    with connection.open_session() as stream:
        stream.settimeout(None)
        with pytest.raises(ConnectionBroke):
            stream.recv(1)


def test_a_way_on_which_nobody_can_so_much_as_ask(connection: SshConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    connection.open_session().close()
    stuck = threading.Event()

    def open_session(*_: Any, **__: Any) -> None:
        stuck.wait(60)
        raise EOFError

    monkeypatch.setattr(paramiko.Transport, "open_session", open_session)
    connection.drop_if_silent()
    stuck.set()
    assert not connection.is_alive


def test_what_no_ssh_server_sends(tmp_path: Path) -> None:
    names = b"\xff" * 1000
    message = bytes([MSG_KEXINIT]) + bytes(16) + 10 * (len(names).to_bytes(4) + names) + bytes(5)
    padding = 8 - (len(message) + 5) % 8 + 8
    packet = (len(message) + padding + 1).to_bytes(4) + bytes([padding]) + message + bytes(padding)
    with socket.create_server(("127.0.0.1", 0)) as server, contextlib.ExitStack() as stack:

        def serve() -> None:
            with contextlib.suppress(OSError), server.accept()[0] as connected:
                connected.sendall(b"SSH-2.0-odd\r\n" + packet)
                while connected.recv(1000):
                    """Until it is given up."""

        threading.Thread(target=serve, daemon=True).start()
        hosts = SshHosts(SshAccess(home=str(tmp_path), user="ops", timeout=20))
        stack.callback(hosts.close)
        with pytest.raises(ConnectionBroke) as caught:
            hosts.connection(SshHost("127.0.0.1", "ops", server.getsockname()[1])).run("true")
        assert len(str(caught.value)) < 200
