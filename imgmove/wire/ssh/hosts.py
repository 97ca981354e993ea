"""Whether a host is the one that it claims to be: OpenSSH's known_hosts files (man sshd, SSH_KNOWN_HOSTS FILE FORMAT).

A host that nobody knows, or that has another key than before, is refused with the line that says how to trust it.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import hmac
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from imgmove.errors import AccessDenied, LocalError
from imgmove.model.ssh import SshTarget

_LARGEST = 32 << 20
_MARKERS = ("@revoked", "@cert-authority")
_DEFAULT_PORT = 22


@dataclass(frozen=True, slots=True)
class HostKey:
    """A host's public key."""

    kind: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """As ``ssh-keygen -l`` shows it."""
        digest = hashlib.sha256(self.blob).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class _Line:
    marker: str
    names: str
    key: HostKey
    path: str
    number: int


class KnownHosts:
    """What the files say of one host."""

    def __init__(self, target: SshTarget) -> None:
        self._target = target
        self._lines = [line for path in target.known_hosts_files for line in _read(path) if _is_about(line, target)]

    @property
    def kinds(self) -> Sequence[str]:
        """The types of the keys that are known, so that the host is asked to show one of them."""
        return tuple(dict.fromkeys(line.key.kind for line in self._lines if not line.marker))

    @property
    def _has_authority(self) -> bool:
        return any(line.marker == "@cert-authority" for line in self._lines)

    def check(self, key: HostKey) -> str:
        """Makes sure that a host with this key is the one that is meant.

        Returns:
            What a person should know of it, as that a new host was trusted; empty for nothing.

        Raises:
            AccessDenied: it isn't, or nobody knows.
        """
        if any(line.marker == "@revoked" and line.key == key for line in self._lines):
            raise AccessDenied(f"the key of {self._target.name} is revoked", hint=f"{key.fingerprint}")
        plain = [line for line in self._lines if not line.marker]
        if any(line.key == key for line in plain):
            return ""
        if same := [line for line in plain if line.key.kind == key.kind] or plain:
            raise self._changed(key, same[0])
        # A host that shows certificates to others is no new one, so it is not trusted for its mere key.
        if not self._target.accepts_new or self._has_authority:
            raise self._unknown(key)
        return self._remember(key)

    def _changed(self, key: HostKey, line: _Line) -> AccessDenied:
        known_as = self._target.known_as
        return AccessDenied(
            f"the key of {self._target.name} is another one than before: {key.kind} {key.fingerprint} instead of the one "
            f"in {line.path}, line {line.number}",
            hint=f"if the host was set up anew: ssh-keygen -f {line.path} -R '{known_as}', and trust it again",
        )

    def _unknown(self, key: HostKey) -> AccessDenied:
        target = self._target
        port = f"-p {target.port} " if target.port != _DEFAULT_PORT else ""
        has_alias = target.known_as not in (target.host, f"[{target.host}]:{target.port}")
        if target.jumps or target.command or has_alias:
            # As ssh takes it, which knows no brackets, nor a port behind a name.
            bare = target.name.removesuffix(f":{target.port}")
            how = f"connect once with ssh {port * (bare != target.name)}{bare.replace('[', '').replace(']', '')}"
        else:
            file = target.known_hosts_files[0] if target.known_hosts_files else "~/.ssh/known_hosts"
            how = f"ssh-keyscan {port}{target.host} >> {file}"
        why = (
            "; only an authority is known for it, and host certificates are not looked at"
            if self._has_authority
            else ""
        )
        return AccessDenied(
            f"the host {target.name} is not known: {key.kind} {key.fingerprint}{why}",
            hint=f"if that is its key, trust it with: {how}",
        )

    def _remember(self, key: HostKey) -> str:
        target = self._target
        if not target.known_hosts_files:
            return f"the host {target.name} is new and trusted this once: {key.kind} {key.fingerprint}"
        path = target.known_hosts_files[0]
        name = hashed(target.known_as) if target.hashes_names else target.known_as
        line = f"{name} {key.kind} {base64.b64encode(key.blob).decode()}\n"
        try:
            os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
            _append(path, line)
        except OSError as error:
            raise LocalError(f"{path} can't be written: {error.strerror}") from None
        return f"the host {target.name} is new and trusted from now on: {key.kind} {key.fingerprint}"


def hashed(name: str, salt: bytes = b"") -> str:
    """A name as ``HashKnownHosts`` writes it."""
    salt = salt or os.urandom(20)
    digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


def _append(path: str, line: str) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        is_open = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        os.write(descriptor, ("\n" * is_open + line).encode())
    finally:
        os.close(descriptor)


def _read(path: str) -> Iterator[_Line]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read(_LARGEST).splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise LocalError(f"{path}: {error.strerror}") from None
    for number, text in enumerate(lines, 1):
        words = text.split()
        marker = words.pop(0) if words and words[0] in _MARKERS else ""
        if len(words) < 3 or words[0].startswith("#"):
            continue
        try:
            blob = base64.b64decode(words[2], validate=True)
        except (binascii.Error, ValueError):
            continue
        yield _Line(marker, words[0], HostKey(words[1], blob), path, number)


def _is_about(line: _Line, target: SshTarget) -> bool:
    return any(_names(line.names, name) for name in (target.known_as, target.known_as.lower()))


def _names(pattern: str, name: str) -> bool:
    if pattern.startswith("|1|"):
        try:
            salt = base64.b64decode(pattern.split("|")[2], validate=True)
        except (binascii.Error, ValueError, LookupError):
            return False
        return hmac.compare_digest(hashed(name, salt).encode(), pattern.encode()) if salt else False
    found = False
    for item in pattern.split(","):
        # Only * and ? are wild here; a bracket stands round a host with a port.
        wanted = item.removeprefix("!").lower().replace("[", "[[]")
        if fnmatch.fnmatchcase(name.lower(), wanted):
            if item.startswith("!"):
                return False
            found = True
    return found
