"""What ``--change`` says: Dockerfile instructions that alter the settings of an image, applied as docker applies them.

Docker has them in `docker import` and `docker commit` (*Dockerfile reference*): CMD, ENTRYPOINT, ENV, EXPOSE,
HEALTHCHECK, LABEL, ONBUILD, USER, VOLUME and WORKDIR; STOPSIGNAL is one more here. What they alter is the ``config``
object of an image config (OCI image spec, *Image Configuration*; docker's HEALTHCHECK, ONBUILD and SHELL besides).
"""

from __future__ import annotations

import copy
import ipaddress
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from imgmove.errors import MalformedContent, UsageError
from imgmove.model.dockerfile import (
    Instruction,
    expand,
    read_instruction,
    read_instructions,
    read_list,
    read_pairs,
)
from imgmove.model.healthcheck import read_healthcheck

_SHELL = ["/bin/sh", "-c"]
_TRIGGERS = frozenset(
    {"ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "RUN", "SHELL", "STOPSIGNAL"}
    | {"USER", "VOLUME", "WORKDIR"}
)
_SIGNAL = re.compile(
    r"(?:SIG)?(?:ABRT|ALRM|BUS|CHLD|CLD|CONT|FPE|HUP|ILL|INT|IO|IOT|KILL|PIPE|POLL|PROF|PWR|QUIT|SEGV|STKFLT|STOP|SYS"
    r"|TERM|TRAP|TSTP|TTIN|TTOU|URG|USR1|USR2|VTALRM|WINCH|XCPU|XFSZ|RTMIN(?:\+(?:[1-9]|1[0-5]))?|RTMAX(?:-(?:[1-9]|1[0-4]))?)",
    re.IGNORECASE,
)
_LAST_SIGNAL = 64
_MOST_PORTS = 65535
_PROTOCOLS = ("tcp", "udp", "sctp")


def apply_changes(config: Mapping[str, object], changes: Sequence[str]) -> dict[str, object]:
    """The settings of an image after some changes; ``config`` itself stays as it is.

    Args:
        config: an image config's ``config`` object; empty for a new image.
        changes: instructions, in their order; a text may hold several lines.

    Raises:
        UsageError: a change is unknown or malformed; the message quotes it.
        MalformedContent: ``config`` holds something of the wrong kind.
    """
    settings = _Settings(config)
    for change in changes:
        settings.take(change)
    return settings.config


class _Settings:
    """Settings that change. Each method named after an instruction takes its flags and arguments."""

    def __init__(self, config: Mapping[str, object]) -> None:
        self.config = copy.deepcopy(dict(config))
        self._has_command = False
        self._instructions: Mapping[str, Callable[[str], None]] = {
            "CMD": self._cmd,
            "ENTRYPOINT": self._entrypoint,
            "ENV": self._env,
            "EXPOSE": self._expose,
            "LABEL": self._label,
            "ONBUILD": self._onbuild,
            "STOPSIGNAL": self._stopsignal,
            "USER": self._user,
            "VOLUME": self._volume,
            "WORKDIR": self._workdir,
        }

    def take(self, change: str) -> None:
        try:
            change.encode("utf-8")
            instructions = read_instructions(change)
            if not instructions:
                raise UsageError("it holds no instruction")  # noqa: TRY301 - told with the change, like all others
            for instruction in instructions:
                self._follow(instruction)
        except UnicodeEncodeError:
            raise UsageError("--change must be UTF-8 text") from None
        except UsageError as error:
            raise UsageError(f"--change {change!r:.200}: {error.message}", hint=error.hint) from None

    def _follow(self, instruction: Instruction) -> None:
        name = instruction.name
        if name == "HEALTHCHECK":
            self.config["Healthcheck"] = read_healthcheck(instruction)
            return
        if name not in self._instructions:
            known = ", ".join(sorted((*self._instructions, "HEALTHCHECK")))
            raise UsageError(f"{name!r:.40} can't be changed so", hint=f"there are {known}")
        if instruction.flags:
            raise UsageError(f"{name} has no option {instruction.flags[0]!r:.60}")
        self._instructions[name](instruction.arguments)

    # --- commands

    def _cmd(self, arguments: str) -> None:
        command = self._command(arguments)
        self._set("Cmd", command)
        self._has_command = bool(arguments and command)

    def _entrypoint(self, arguments: str) -> None:
        command = self._command(arguments) if arguments else []
        self._set("Entrypoint", command)
        if not self._has_command:
            # What an entrypoint is given by default was meant for the former one.
            self.config.pop("Cmd", None)

    def _command(self, arguments: str) -> list[str]:
        listed = read_list(arguments)
        if listed is not None:
            return listed
        shell = self._texts("Shell") or _SHELL
        return [*shell, arguments] if arguments else list(shell)

    def _onbuild(self, arguments: str) -> None:
        instruction = read_instruction(_needed(arguments, "ONBUILD"))
        trigger = instruction.name
        if trigger in ("ONBUILD", "FROM", "MAINTAINER"):
            raise UsageError(f"ONBUILD can't hold {trigger}")
        if trigger not in _TRIGGERS:
            raise UsageError(f"ONBUILD holds {trigger!r:.40}, which is no instruction")
        if trigger in ("ENV", "LABEL"):
            read_pairs(instruction.arguments, trigger)
        if trigger in ("CMD", "ENTRYPOINT", "RUN", "VOLUME", "SHELL"):
            read_list(instruction.arguments)
        self.config["OnBuild"] = [*self._texts("OnBuild"), arguments]

    # --- names and values

    def _env(self, arguments: str) -> None:
        variables = self._texts("Env")
        for name, value in self._pairs(arguments, "ENV"):
            known = [number for number, text in enumerate(variables) if text.partition("=")[0] == name]
            if known:
                variables[known[0]] = f"{name}={value}"
            else:
                variables.append(f"{name}={value}")
        self.config["Env"] = variables

    def _label(self, arguments: str) -> None:
        labels = self._texts_by_name("Labels")
        labels.update(self._pairs(arguments, "LABEL"))
        self.config["Labels"] = dict(sorted(labels.items()))

    def _pairs(self, arguments: str, instruction: str) -> list[tuple[str, str]]:
        # All of one line see the variables as they were before it.
        return [(self._expanded(name), self._expanded(value)) for name, value in read_pairs(arguments, instruction)]

    # --- single values and sets

    def _expose(self, arguments: str) -> None:
        words = [word for text in _needed(arguments, "EXPOSE").split() for word in self._expanded(text).split()]
        self._add("ExposedPorts", (port for word in words for port in _ports(word)))

    def _volume(self, arguments: str) -> None:
        listed = read_list(arguments)
        words = [self._expanded(word.strip()) for word in (arguments.split() if listed is None else listed)]
        if not words or not all(words):
            raise UsageError("VOLUME needs paths that are not empty")
        self._add("Volumes", words)

    def _user(self, arguments: str) -> None:
        self._set("User", self._expanded(_needed(arguments, "USER")))

    def _workdir(self, arguments: str) -> None:
        path = self._expanded(_needed(arguments, "WORKDIR"))
        if not path:
            raise UsageError("WORKDIR needs a path that is not empty")
        former = self.config.get("WorkingDir") or ""
        if not isinstance(former, str):
            raise MalformedContent("the image's WorkingDir is not a text")
        is_absolute = path.startswith("/")
        self._set("WorkingDir", path if is_absolute else posixpath.normpath(posixpath.join("/", former, path)))

    def _stopsignal(self, arguments: str) -> None:
        signal = self._expanded(_needed(arguments, "STOPSIGNAL"))
        is_number = signal.isascii() and signal.isdigit() and 0 < int(signal[:9]) <= _LAST_SIGNAL
        if not is_number and not _SIGNAL.fullmatch(signal):
            raise UsageError(f"no signal {signal!r:.40}", hint="write it like SIGTERM or 15")
        self._set("StopSignal", signal)

    # --- what the config holds

    def _expanded(self, word: str) -> str:
        variables: dict[str, str] = {}
        for text in self._texts("Env"):
            name, _, value = text.partition("=")
            variables.setdefault(name, value)
        return expand(word, variables)

    def _set(self, key: str, value: str | list[str]) -> None:
        if value:
            self.config[key] = value
        else:
            self.config.pop(key, None)

    def _add(self, key: str, names: Iterable[str]) -> None:
        known = self.config.get(key) or {}
        if not isinstance(known, dict):
            raise MalformedContent(f"the image's {key} is not an object")
        if together := {**known, **{name: {} for name in names}}:
            self.config[key] = dict(sorted(together.items()))

    def _texts(self, key: str) -> list[str]:
        value = self.config.get(key) or []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise MalformedContent(f"the image's {key} is not a list of texts")
        return list(value)

    def _texts_by_name(self, key: str) -> dict[str, str]:
        value = self.config.get(key) or {}
        if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
            raise MalformedContent(f"the image's {key} is not an object of texts")
        return dict(value)


def _needed(arguments: str, instruction: str) -> str:
    if not arguments:
        raise UsageError(f"{instruction} needs an argument")
    return arguments


# --- ports


def _ports(word: str) -> list[str]:
    """``PORT[-PORT][/PROTOCOL]``; docker takes, and forgets, an address and host port before it."""
    before, _, port = word.rpartition(":")
    address, _, host_port = before.rpartition(":")
    number, _, protocol = port.partition("/")
    protocol = (protocol or "tcp").lower()
    if protocol not in _PROTOCOLS:
        raise UsageError(f"no protocol {protocol!r:.40} in the port {word!r:.80}", hint="there are tcp, udp and sctp")
    first, last = _range(number, word)
    if host_port:
        host_first, host_last = _range(host_port, word)
        if first != last and host_last - host_first != last - first:
            raise UsageError(f"the ranges of the port {word!r:.80} are not of one length")
    _check_address(address, word)
    return [f"{number}/{protocol}" for number in range(first, last + 1)]


def _range(text: str, word: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    numbers = [first, last if dash else first]
    if not all(number.isascii() and number.isdigit() and int(number[:9]) <= _MOST_PORTS for number in numbers):
        raise UsageError(f"not a port: {word!r:.80}", hint="write it like 80, 8000-8010 or 53/udp")
    if int(first) > int(numbers[1]):
        raise UsageError(f"the range of the port {word!r:.80} is upside down")
    return int(first), int(numbers[1])


def _check_address(text: str, word: str) -> None:
    try:
        if text.startswith("[") and text.endswith("]"):
            ipaddress.IPv6Address(text[1:-1])
        elif text:
            ipaddress.IPv4Address(text)
    except ValueError:
        raise UsageError(f"not a port: {word!r:.80}", hint=f"{text!r:.60} is no address") from None
