"""What OpenSSH's client configuration says of a host (man ssh_config).

paramiko reads ``Host`` and ``Match`` blocks; ``Include``, the defaults and what a connection makes of the words are here.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from imgmove.errors import ConfigError, LocalError, UsageError
from imgmove.model.location import SshHost
from imgmove.model.ssh import SshAccess, SshTarget
from imgmove.wire.ssh.late import import_paramiko

_KEYWORD = re.compile(r"\s*(\w+)(?:\s*=\s*|\s+)(.*)")
_HERE = "imgmovehere"
_DEEPEST = 16
_LARGEST = 4 << 20
_DEFAULT_PORT = 22
_SYSTEM = "/etc/ssh"
_JUMP = re.compile(r"(?:ssh://)?(?:([^'\"`;&<>|(){}]+)@)?(\[[^\]]+\]|[^:\[\]/'\"`;&<>|(){}$\\\s]+)(?::([0-9]{1,5}))?/?")
_HIDDEN = str.maketrans("%~", "\x01\x02")
"""Tokens and the home folder are ours to fill in: paramiko does it by the process and before all is known."""
_SHOWN = str.maketrans("\x01\x02", "%~")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_NO = ("no", "false", "off")
_YES = ("yes", "true", "on")


def find_target(access: SshAccess, carrier: SshHost) -> SshTarget:
    """How a host is reached, by what was typed, then the user's configuration, then the system's.

    Raises:
        ConfigError: the configuration can't be read or makes no sense.
    """
    return _Reading(access, carrier).target(_Words(_options(access, carrier.host)))


def parse_jump(text: str) -> SshHost:
    """One hop of ``ProxyJump``: ``[USER@]HOST[:PORT]``, or as ``ssh://``.

    Raises:
        ConfigError: it is none.
    """
    match = _JUMP.fullmatch(text)
    if not match or match.group(2).startswith("-"):
        raise ConfigError(f"not a host to jump through: {text!r:.100}")
    user, host, port = match.groups()
    return SshHost(host.strip("[]"), user or "", int(port) if port else None)


@dataclass(frozen=True)
class _Words:
    """The words of the configuration that hold for a host, by keywords in lower case, in the order they came."""

    found: Mapping[str, Any]

    def one(self, name: str, default: str = "") -> str:
        value = self.found.get(name)
        return default if value is None else str(value).translate(_SHOWN).strip().strip('"')

    def several(self, name: str) -> list[str]:
        value = self.found.get(name)
        if isinstance(value, list):
            return [str(item).translate(_SHOWN).strip('"') for item in value]
        return _split(str(value or "").translate(_SHOWN))

    def is_yes(self, name: str) -> bool:
        return self.one(name).lower() in _YES

    def seconds(self, name: str, default: float) -> float:
        text = self.one(name).lower()
        if not text or text == "none":
            return default
        parts = re.findall(r"([0-9]{1,9})([smhdw]?)", text)
        if "".join(number + unit for number, unit in parts) != text:
            raise ConfigError(f"the SSH configuration's {name} is no time: {text!r:.40}")
        return float(sum(int(number) * _UNITS[unit] for number, unit in parts))

    def comes_before(self, name: str, other: str) -> bool:
        names = list(self.found)
        return name in names and (other not in names or names.index(name) < names.index(other))


@dataclass(frozen=True)
class _Reading:
    access: SshAccess
    carrier: SshHost

    def target(self, words: _Words) -> SshTarget:
        host = words.one("hostname", self.carrier.host).replace("%h", self.carrier.host)
        port = self.carrier.port or self._port(words.one("port"))
        user = self.carrier.user or words.one("user", self.access.user)
        tokens = {"%h": host, "%p": str(port), "%r": user, "%n": self.carrier.host}
        alias = words.one("hostkeyalias")
        strict = words.one("stricthostkeychecking").lower()
        files = [self._path(item, tokens) for item in words.several("identityfile") if item.lower() != "none"]
        name = str(self.carrier)
        keys = (self.access.key, self.access.keys.get(name, ""), *files)
        return SshTarget(
            name=name,
            host=host,
            port=port,
            user=user,
            known_as=alias or (host if port == _DEFAULT_PORT else f"[{host}]:{port}"),
            identity_files=tuple(dict.fromkeys(filter(None, keys))),
            uses_other_keys=not words.is_yes("identitiesonly"),
            agent=self._agent(words.one("identityagent"), tokens),
            jumps=self._jumps(words),
            command=self._command(words, tokens),
            known_hosts_files=tuple(self._known_hosts(words, tokens)),
            accepts_new=strict in ("accept-new", *_NO),
            hashes_names=words.is_yes("hashknownhosts"),
            connect_timeout=words.seconds("connecttimeout", min(15.0, self.access.timeout)) or 15.0,
            alive_interval=int(words.seconds("serveraliveinterval", 15.0)) or 15,
        )

    def _port(self, text: str) -> int:
        if not text:
            return _DEFAULT_PORT
        if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
            raise ConfigError(f"the SSH configuration's port for {self.carrier.host} is none: {text!r:.40}")
        return int(text)

    def _jumps(self, words: _Words) -> tuple[str, ...]:
        text = words.one("proxyjump")
        if not text or text.lower() == "none" or words.comes_before("proxycommand", "proxyjump"):
            return ()
        return tuple(item.strip() for item in text.split(","))

    def _command(self, words: _Words, tokens: Mapping[str, str]) -> str:
        text = words.one("proxycommand")
        if not text or text.lower() == "none" or words.comes_before("proxyjump", "proxycommand"):
            return ""
        return self._expanded(text, tokens)

    def _agent(self, text: str, tokens: Mapping[str, str]) -> str:
        if text.lower() == "none":
            return ""
        # A variable's name would make this read the environment; the usual one is known.
        return self.access.agent if text in ("", "SSH_AUTH_SOCK", "$SSH_AUTH_SOCK") else self._path(text, tokens)

    def _known_hosts(self, words: _Words, tokens: Mapping[str, str]) -> Iterator[str]:
        if self.access.known_hosts:
            yield self.access.known_hosts
            return
        for name, usual in (
            ("userknownhostsfile", ["~/.ssh/known_hosts", "~/.ssh/known_hosts2"]),
            ("globalknownhostsfile", ["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"]),
        ):
            for item in words.several(name) or usual:
                if item.lower() != "none":
                    yield self._path(item, tokens)

    def _path(self, text: str, tokens: Mapping[str, str]) -> str:
        path = self._expanded(text, tokens)
        return os.path.join(self.access.home, path[2:]) if path.startswith("~/") else path

    def _expanded(self, text: str, tokens: Mapping[str, str]) -> str:
        known = {**tokens, "%%": "%", "%d": self.access.home, "%u": self.access.user}
        return re.sub("%.", lambda match: known.get(match.group(), match.group()), text)


def _options(access: SshAccess, host: str) -> Mapping[str, Any]:
    lines = _Lines(access, host)
    for path in access.config_files:
        # Relative names in an Include are the user's, unless the file is the system's.
        lines.read(path, _SYSTEM if path.startswith(f"{_SYSTEM}/") else os.path.join(access.home, ".ssh"))
    return _lookup(lines.lines, host)


@dataclass
class _Lines:
    """All files as one text, in which every ``Include`` is replaced by what it stands for."""

    access: SshAccess
    host: str
    lines: list[str] = field(default_factory=list)

    def read(self, path: str, folder: str, depth: int = 0) -> None:
        if depth > _DEEPEST:
            raise ConfigError(f"{path}: SSH configuration files include one another without end")
        block = "Host *"
        self.lines.append(block)
        for line in _read(path):
            match = _KEYWORD.match(line)
            keyword = match.group(1).lower() if match else ""
            if match and keyword == "include":
                if self._applies():
                    self._include(match.group(2), folder, depth)
                    # What follows belongs to the block that the included file interrupted.
                    self.lines.append(block)
                continue
            block = line if keyword in ("host", "match") else block
            plain = _plain(path, line)
            self.lines.append(plain if keyword in ("host", "match") else plain.translate(_HIDDEN))

    def _applies(self) -> bool:
        """Whether the block that is being read is about the host."""
        return _HERE in _lookup([*self.lines, f"{_HERE} yes"], self.host)

    def _include(self, text: str, folder: str, depth: int) -> None:
        for item in _split(text):
            pattern = os.path.join(self.access.home, item[2:]) if item.startswith("~/") else item
            for found in sorted(glob.glob(os.path.join(folder, pattern))):
                if os.path.isfile(found):
                    self.read(found, folder, depth + 1)


def _lookup(lines: list[str], host: str) -> Mapping[str, Any]:
    import_paramiko()
    import paramiko

    try:
        found: Mapping[str, Any] = paramiko.SSHConfig.from_text("\n".join(lines)).lookup(host)
    except (paramiko.SSHException, ValueError, KeyError, LookupError, TypeError) as error:
        raise ConfigError(f"the SSH configuration can't be read: {error}") from error
    return found


def _read(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(_LARGEST).splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise LocalError(f"{path}: {error.strerror}") from None


def _plain(path: str, line: str) -> str:
    """A line as paramiko takes it: OpenSSH allows a comment behind the words."""
    text = line.strip()
    if text and not text.startswith("#") and not _KEYWORD.fullmatch(text):
        raise ConfigError(f"{path}: not a line of an SSH configuration: {text!r:.60}")
    return re.sub(r"\s#.*$", "", text) if '"' not in text else text


def _split(text: str) -> list[str]:
    return [quoted or plain for quoted, plain in re.findall(r'"([^"]*)"|(\S+)', text)]


def check_loop(chain: tuple[str, ...], name: str) -> None:
    """Refuses a host that is to be reached through itself.

    Raises:
        UsageError: it is one.
    """
    if name in chain:
        raise UsageError(f"the SSH configuration reaches {name} through itself", hint="set ProxyJump none for it")
