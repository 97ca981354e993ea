"""Hashing files on the host where they lie, so that proving them whole does not bring them here."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator, Sequence
from itertools import islice

from imgmove.errors import ImgmoveError
from imgmove.ports import FilePart
from imgmove.wire.ssh import RemoteProcess, SshConnection

_HELLO = b"imgmove hashes"
"""What the shell says first, after whatever it greets people with: a host that does not say it has none for us."""

_HELLO_SECONDS = 10.0
_MOST_GREETINGS = 200
_LONGEST_LINE = 500
_BLOCK = 4 << 10

# The first line ends what somebody may have printed before without ending it.
_SCRIPT = """\
echo
echo {hello}
command -v {program} >/dev/null 2>&1 || exit 0
whole() {{ {program} <"$1" || echo -; }}
part() {{ tail -c "+$2" "$1" | head -c "$3" | {program} || echo -; }}
"""


def hash_there(connection: SshConnection, parts: Sequence[FilePart], algorithm: str) -> Iterator[tuple[FilePart, str]]:
    """Has the host hash files with ``sha256sum`` or its like, all with one command.

    Args:
        parts: with paths that are absolute or below the home folder.
        algorithm: ``sha256``, ``sha384`` or ``sha512``.

    Yields:
        A part and its hash, as soon as it is known. What the host can't hash, or all where it has no shell, no such
        program or no session to spare, is left out.

    Raises:
        NetworkError: the connection broke.
    """
    try:
        process = connection.execute("sh", patience=0)
    except ImgmoveError as error:
        if error.is_transient:
            raise
        return
    with process:
        process.stream.settimeout(min(connection.timeout, _HELLO_SECONDS))
        try:
            process.write(_script(parts, algorithm))
            process.close_input()
            lines = _lines(process)
            if _HELLO not in islice(lines, _MOST_GREETINGS):
                return
        except ImgmoveError:
            if connection.is_alive:
                return
            raise
        # A large file takes its time; what keeps the connection alive tells when nothing will come.
        process.stream.settimeout(None)
        digits = 2 * hashlib.new(algorithm).digest_size
        for part, line in zip(parts, lines, strict=False):
            value = line.split(b" ")[0].decode("ascii", "replace")
            if len(value) == digits and not value.strip("0123456789abcdef"):
                yield part, value
            elif value != "-":
                return


def _script(parts: Sequence[FilePart], algorithm: str) -> bytes:
    lines = [_SCRIPT.format(hello=_HELLO.decode(), program=f"{algorithm}sum")]
    for part in parts:
        path = shlex.quote(part.path if part.path.startswith("/") else f"./{part.path}")
        is_whole = part.size is None
        lines.append(f"whole {path}\n" if is_whole else f"part {path} {part.offset + 1} {part.size}\n")
    return "".join(lines).encode("utf-8", "surrogateescape")


def _lines(process: RemoteProcess) -> Iterator[bytes]:
    """What it prints, line by line; ends at a line that is none of ours."""
    rest = b""
    while True:
        line, end, after = rest.partition(b"\n")
        if end:
            rest = after
            yield line
        elif len(rest) > _LONGEST_LINE or not (data := process.read(_BLOCK)):
            return
        else:
            rest += data
