"""SFTP, version 3 with OpenSSH's extensions, over one session that all threads share (draft-ietf-secsh-filexfer-02).

Requests are sent without waiting for the answers of earlier ones, which is what makes distant hosts fast; a thread of
its own hands out the answers. How much is under way is for whoever asks to bound.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from concurrent.futures import Future

from imgmove.errors import AccessDenied, ImgmoveError, NotFound, ServerRefused
from imgmove.wire.ssh.connection import SshConnection
from imgmove.wire.ssh.errors import ConnectionBroke, NoSession, printable, translated
from imgmove.wire.ssh.sftp_messages import (
    ASK_CLOSE,
    ASK_OPEN,
    ASK_READ,
    ASK_WRITE,
    EOF,
    EXTENDED,
    FSETSTAT,
    FSTAT,
    HAS_MODE,
    HAS_SIZE,
    INIT,
    LSTAT,
    MKDIR,
    NO_SUCH_FILE,
    OK,
    OPENDIR,
    PERMISSION,
    READDIR,
    REALPATH,
    REMOVE,
    STAT,
    STATUS,
    VERSION,
    Attributes,
    Parts,
    attributes,
    packed,
    packed_text,
)
from imgmove.wire.ssh.streams import RemoteStream

READ, WRITE, CREATE, TRUNCATE, EXCLUSIVE = 0x01, 0x02, 0x08, 0x10, 0x20

_WINDOW = 16 << 20
_LARGEST_ANSWER = 1 << 20
_SMALL = 32 << 10


class SftpFailure(ServerRefused):
    """The host's SFTP server says that something failed, and not why."""


class Sftp:
    """One SFTP session. Safe for many threads.

    Args:
        patience: seconds to wait while the host takes no further session; None for the usual.

    Attributes:
        extensions: those that the server has, by name.
        largest: bytes of content that one request may carry.
    """

    def __init__(self, connection: SshConnection, *, patience: float | None = None) -> None:
        self.name = connection.name
        self._patience = connection.timeout
        self._stream = _subsystem(connection, patience)
        self._sending = threading.Lock()
        self._lock = threading.Lock()
        self._waiting: dict[int, Future[tuple[int, bytes]]] = {}
        self._number = 0
        self._broken: ImgmoveError | None = None
        self.extensions: dict[str, bytes] = {}
        self.largest = _SMALL
        try:
            self._stream.sendall(struct.pack(">IBI", 5, INIT, 3))
            self._greet()
        except BaseException:
            self._stream.close()
            raise
        threading.Thread(target=self._receive, name="imgmove-sftp", daemon=True).start()
        if "limits@openssh.com" in self.extensions:
            answer = Parts(self._done(self._extended("limits@openssh.com"), "its limits")[1])
            limits = [answer.long() for _ in range(3)]
            self.largest = max(_SMALL, min([limit or _SMALL for limit in limits[1:]] + [255 << 10]))

    # --- files

    def open(self, path: str, flags: int) -> bytes:
        """Opens a file; returns its handle."""
        mode = struct.pack(">II", HAS_MODE, 0o644) if flags & CREATE else struct.pack(">I", 0)
        answer = self._ask(ASK_OPEN, packed_text(path) + struct.pack(">I", flags) + mode)
        return Parts(self._done(answer, path)[1]).text()

    def close(self, handle: bytes) -> None:
        """Gives a handle back, without waiting for the answer."""
        if self._broken is None:
            self._ask(ASK_CLOSE, packed(handle))

    def read(self, handle: bytes, offset: int, size: int) -> Future[tuple[int, bytes]]:
        """Asks for bytes; `content` waits for them."""
        return self._ask(ASK_READ, packed(handle) + struct.pack(">QI", offset, size))

    def content(self, answer: Future[tuple[int, bytes]], path: str) -> bytes:
        """The bytes that were asked for; none at the end of the file."""
        kind, body = self._waited(answer)
        if kind == STATUS and Parts(body).number() == EOF:
            return b""
        return Parts(self._checked(kind, body, path)[1]).text()

    def write(self, handle: bytes, offset: int, data: bytes | memoryview) -> Future[tuple[int, bytes]]:
        """Sends bytes; `finish` waits until they are written."""
        head = packed(handle) + struct.pack(">QI", offset, len(data))
        return self._ask(ASK_WRITE, head, data)

    def finish(self, answer: Future[tuple[int, bytes]], path: str) -> None:
        """Waits for something that was asked for.

        Raises:
            ImgmoveError: it failed.
        """
        self._done(answer, path)

    def size(self, handle: bytes, path: str) -> int:
        """How long an open file is."""
        return attributes(self._done(self._ask(FSTAT, packed(handle)), path)[1]).size

    def truncate(self, handle: bytes, size: int, path: str) -> None:
        """Cuts an open file, or lengthens it with a hole."""
        self._done(self._ask(FSETSTAT, packed(handle) + struct.pack(">IQ", HAS_SIZE, size)), path)

    def sync(self, handle: bytes, path: str) -> None:
        """Puts an open file's content on the disk, where the server can."""
        if "fsync@openssh.com" in self.extensions:
            self._done(self._extended("fsync@openssh.com", packed(handle)), path)

    # --- paths

    def status(self, path: str) -> Attributes | None:
        """What lies at a path, links followed; None for nothing."""
        try:
            return attributes(self._done(self._ask(STAT, packed_text(path)), path)[1])
        except NotFound:
            return None

    def is_link(self, path: str) -> bool:
        """Whether a symbolic link lies at a path, wherever it leads."""
        try:
            return attributes(self._done(self._ask(LSTAT, packed_text(path)), path)[1]).is_link
        except NotFound:
            return False

    def real_path(self, path: str) -> str:
        """The path with all links followed."""
        parts = Parts(self._done(self._ask(REALPATH, packed_text(path)), path)[1])
        if parts.number() != 1:
            raise SftpFailure(f"{self.name}: {path}: where it leads is not told")
        return parts.text().decode("utf-8", "surrogateescape")

    def list(self, path: str) -> Iterator[tuple[str, Attributes]]:
        """What lies in a folder, in the server's order, links not followed."""
        handle = Parts(self._done(self._ask(OPENDIR, packed_text(path)), path)[1]).text()
        try:
            while True:
                kind, body = self._waited(self._ask(READDIR, packed(handle)))
                if kind == STATUS and Parts(body).number() == EOF:
                    return
                parts = Parts(self._checked(kind, body, path)[1])
                for _ in range(parts.number()):
                    name = parts.text().decode("utf-8", "surrogateescape")
                    parts.text()
                    found = parts.attributes()
                    if name not in (".", ".."):
                        yield name, found
        finally:
            self.close(handle)

    def make_folder(self, path: str) -> None:
        """Makes one folder."""
        self._done(self._ask(MKDIR, packed_text(path) + struct.pack(">I", 0)), path)

    def remove(self, path: str) -> None:
        """Removes a file."""
        self._done(self._ask(REMOVE, packed_text(path)), path)

    def rename(self, before: str, after: str) -> None:
        """Gives a file another name, in place of what had it.

        Raises:
            ServerRefused: the server can't replace files in one step.
        """
        if "posix-rename@openssh.com" not in self.extensions:
            raise ServerRefused(
                f"{self.name}: its SFTP server can't replace files in one step (posix-rename@openssh.com)"
            )
        self._done(self._extended("posix-rename@openssh.com", packed_text(before) + packed_text(after)), after)

    def free_space(self, path: str) -> int | None:
        """Bytes that may still be written below a folder; None where the server doesn't tell."""
        if "statvfs@openssh.com" not in self.extensions:
            return None
        parts = Parts(self._done(self._extended("statvfs@openssh.com", packed_text(path)), path)[1])
        _, unit, _, _, available = (parts.long() for _ in range(5))
        return unit * available

    # --- the session

    @property
    def is_broken(self) -> bool:
        """Whether nothing can be asked any more."""
        return self._broken is not None

    def end(self) -> None:
        """Ends the session."""
        self._break(ConnectionBroke("the command has ended"))
        self._stream.close()

    def _greet(self) -> None:
        kind, body = self._answer()
        if kind != VERSION:
            raise ServerRefused(f"{self.name} does not speak SFTP")
        parts = Parts(body)
        parts.number()
        while parts.is_left:
            name = parts.text().decode("utf-8", "replace")
            self.extensions[name] = parts.text()

    def _extended(self, name: str, rest: bytes = b"") -> Future[tuple[int, bytes]]:
        return self._ask(EXTENDED, packed_text(name) + rest)

    def _ask(self, kind: int, body: bytes, data: bytes | memoryview = b"") -> Future[tuple[int, bytes]]:
        answer: Future[tuple[int, bytes]] = Future()
        with self._lock:
            if self._broken is not None:
                raise self._broken
            self._number = (self._number + 1) & 0xFFFFFFFF
            number = self._number
            self._waiting[number] = answer
        head = struct.pack(">IBI", 5 + len(body) + len(data), kind, number) + body
        try:
            with self._sending:
                self._stream.sendall(head + data if data else head)
        except ImgmoveError as error:
            self._break(error)
            raise
        return answer

    def _done(self, answer: Future[tuple[int, bytes]], path: str) -> tuple[int, bytes]:
        return self._checked(*self._waited(answer), path)

    def _waited(self, answer: Future[tuple[int, bytes]]) -> tuple[int, bytes]:
        try:
            return answer.result(self._patience)
        except TimeoutError:
            error = ConnectionBroke(f"{self.name} did not answer in time")
            self._break(error)
            self._stream.close()
            raise error from None

    def _checked(self, kind: int, body: bytes, path: str) -> tuple[int, bytes]:
        if kind != STATUS:
            return kind, body
        parts = Parts(body)
        code = parts.number()
        where = f"{self.name}: {path}"
        if code == OK:
            return kind, body
        if code == NO_SUCH_FILE:
            raise NotFound(f"{where}: no such file or folder")
        if code == PERMISSION:
            raise AccessDenied(f"{where}: permission denied")
        said = printable(parts.text().decode("utf-8", "replace")) if parts.is_left else ""
        raise SftpFailure(f"{where}: {said.lower() or f'SFTP error {code}'}")

    def _receive(self) -> None:
        try:
            while True:
                kind, body = self._answer()
                parts = Parts(body)
                number = parts.number()
                with self._lock:
                    answer = self._waiting.pop(number, None)
                if answer is not None:
                    answer.set_result((kind, parts.rest()))
        except ImgmoveError as error:
            self._break(error)
        except (struct.error, LookupError, ValueError):
            self._break(ConnectionBroke(f"{self.name} sends what is no SFTP"))
        finally:
            self._stream.close()

    def _break(self, error: ImgmoveError) -> None:
        with self._lock:
            self._broken = self._broken or error
            waiting, self._waiting = list(self._waiting.values()), {}
        for answer in waiting:
            answer.set_exception(error)

    def _answer(self) -> tuple[int, bytes]:
        (size,) = struct.unpack(">I", self._exactly(4))
        if not 1 <= size <= _LARGEST_ANSWER:
            raise ConnectionBroke(f"{self.name} sends what is no SFTP")
        body = self._exactly(size)
        return body[0], body[1:]

    def _exactly(self, size: int) -> bytes:
        data = self._stream.recv(size)
        if len(data) == size:
            return data
        parts = [data]
        size -= len(data)
        while size and data:
            data = self._stream.recv(size)
            parts.append(data)
            size -= len(data)
        if size:
            raise ConnectionBroke(f"the connection to {self.name} broke")
        return b"".join(parts)


def _subsystem(connection: SshConnection, patience: float | None) -> RemoteStream:
    stream = connection.open_session(_WINDOW, patience=patience)
    try:
        # How long an answer may take is bounded by what keeps the connection alive.
        stream.settimeout(connection.timeout)
        with translated(connection.name):
            stream.channel.invoke_subsystem("sftp")
        stream.settimeout(None)
    except ConnectionBroke:
        stream.close()
        if connection.is_alive:
            raise ServerRefused(
                f"{connection.name} offers no SFTP", hint="its sshd_config needs: Subsystem sftp internal-sftp"
            ) from None
        raise
    except NoSession:
        raise
    except BaseException:
        stream.close()
        raise
    return stream
