"""Proving who we are: the agent's keys, key files, and passwords that a person is asked for."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from imgmove.errors import AccessDenied, ImgmoveError
from imgmove.model.ssh import SshTarget
from imgmove.wire.ssh.answers import Answers
from imgmove.wire.ssh.errors import printable

if TYPE_CHECKING:
    import paramiko

_USUAL = ("id_ed25519", "id_ecdsa", "id_rsa")
_MOST_QUESTIONS = 3
_AGENT_SECONDS = 10.0


@dataclass
class Proof:
    """Shows one host everything that the person has, until something is enough.

    Args:
        target: the host, and the keys that are meant for it.
        home: the user's folder.
        answers: the person's, to questions for passwords.
    """

    target: SshTarget
    home: str
    answers: Answers
    _notes: list[str] = field(default_factory=list)
    _shown: int = 0

    def give(self, transport: paramiko.Transport) -> None:
        """Authenticates a connection.

        Raises:
            AccessDenied: the host takes nothing of what there is.
        """
        import paramiko

        self._notes, self._shown = [], 0
        try:
            transport.auth_none(self.target.user)
            return
        except paramiko.BadAuthenticationType as refusal:
            allowed = list(refusal.allowed_types)
        ways: dict[str, Callable[[paramiko.Transport], list[str] | None]] = {
            "publickey": self._with_keys,
            "keyboard-interactive": self._with_answers,
            "password": self._with_password,
        }
        while way := next((ways.pop(name) for name in tuple(ways) if name in allowed), None):
            further = way(transport)
            if further == []:
                return
            # None is a no; otherwise this was the first of several proofs that the host wants.
            allowed = allowed if further is None else further
        raise self._refused(allowed)

    def _refused(self, allowed: list[str]) -> AccessDenied:
        who = f"{self.target.user}@{self.target.host}"
        notes = "".join(f"; {note}" for note in self._notes)
        via = f" ({who})" if who != self.target.name else ""
        return AccessDenied(
            f"{self.target.name}{via} lets nobody in with what was shown: {self._shown_keys}{notes}",
            hint=f"it takes {', '.join(allowed)}; name a key with --ssh-key, or use an agent",
        )

    @property
    def _shown_keys(self) -> str:
        return f"{self._shown} key{'s' * (self._shown != 1)}" if self._shown else "no key"

    # --- keys

    def _with_keys(self, transport: paramiko.Transport) -> list[str] | None:
        import paramiko

        with _agent_keys(self.target.agent) as agent:
            for key in self._keys(agent):
                self._shown += 1
                try:
                    return transport.auth_publickey(self.target.user, key)
                except paramiko.BadAuthenticationType:
                    return None
                except paramiko.AuthenticationException as error:
                    if not transport.is_active():
                        raise self._too_many() from error
                except (paramiko.SSHException, ValueError) as error:
                    if not transport.is_active():
                        raise
                    self._notes.append(f"a key can't sign: {printable(str(error))}")
        return None

    def _too_many(self) -> ImgmoveError:
        return AccessDenied(
            f"{self.target.name} ended the connection after {self._shown_keys}",
            hint="name the right one with --ssh-key, or set IdentitiesOnly yes for the host",
        )

    def _keys(self, agent: tuple[paramiko.PKey, ...]) -> Iterator[paramiko.PKey]:
        """Named keys first, as hosts end the connection after a few; the agent's copy spares a question."""
        named = list(self.target.identity_files)
        usual = [] if named else [os.path.join(self.home, ".ssh", name) for name in _USUAL]
        of_agent = {key.asbytes(): key for key in agent}
        for path in named:
            yield from self._from_file(path, of_agent, is_named=True)
        if self.target.uses_other_keys:
            yield from list(of_agent.values())
            of_agent.clear()
        for path in usual:
            yield from self._from_file(path, of_agent, is_named=False)

    def _from_file(self, path: str, of_agent: dict[bytes, paramiko.PKey], *, is_named: bool) -> Iterator[paramiko.PKey]:
        public = _public_key(path)
        if public in of_agent:
            yield of_agent.pop(public)
            return
        key = self._loaded(path, is_named=is_named)
        if key is not None:
            of_agent.pop(key.asbytes(), None)
            yield key

    def _loaded(self, path: str, *, is_named: bool) -> paramiko.PKey | None:
        question, password = f"Passphrase for {path}: ", None
        for _ in range(_MOST_QUESTIONS + 1):
            try:
                return _load(path, password)
            except FileNotFoundError:
                if is_named:
                    self._notes.append(f"{path} is not there")
                return None
            except OSError as error:
                self._notes.append(f"{path}: {error.strerror}")
                return None
            except _Locked:
                if password is not None:
                    self.answers.refuse(question, password)
                password = self.answers.get(question)
                if password is None:
                    self._notes.append(f"{path} needs a passphrase, and there is no terminal to ask for it")
                    return None
            except _NoKey as error:
                self._notes.append(f"{path} is no key that can be used: {error}")
                return None
        self._notes.append(f"{path} needs another passphrase")
        return None

    # --- passwords

    def _with_password(self, transport: paramiko.Transport) -> list[str] | None:
        import paramiko

        question = f"Password for {self.target.user}@{self.target.host}: "
        for _ in range(_MOST_QUESTIONS):
            password = self.answers.get(question)
            if password is None:
                return None
            try:
                return transport.auth_password(self.target.user, password, fallback=False)
            except paramiko.BadAuthenticationType:
                return None
            except paramiko.AuthenticationException:
                self.answers.refuse(question, password)
                if not transport.is_active():
                    raise
        self._notes.append("no password that was typed is the right one")
        return None

    def _with_answers(self, transport: paramiko.Transport) -> list[str] | None:
        import paramiko

        said: dict[str, str | None] = {}

        def answer(_title: str, _instructions: str, questions: list[tuple[str, bool]]) -> list[str]:
            wanted = [f"{self.target.user}@{self.target.host}: {printable(text)} " for text, _ in questions]
            said.update({question: self.answers.get(question) for question in wanted})
            return [said[question] or "" for question in wanted]

        for _ in range(_MOST_QUESTIONS):
            try:
                return transport.auth_interactive(self.target.user, answer)
            except paramiko.BadAuthenticationType:
                return None
            except paramiko.AuthenticationException:
                for question, text in said.items():
                    self.answers.refuse(question, text or "")
                if not transport.is_active():
                    raise
                if None in said.values():
                    return None
                said.clear()
        return None


class _Locked(Exception):
    """A key file that is encrypted, or whose passphrase is another one."""


class _NoKey(Exception):
    """A file that holds no key of a kind that is known."""


def _load(path: str, password: str | None) -> paramiko.PKey:
    """Reads a key file, with the certificate beside it if there is one."""
    import paramiko

    with open(path, "rb") as file:
        if not file.read(1):
            raise _NoKey("it is empty")
    errors: list[Exception] = []
    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        try:
            key = kind.from_private_key_file(path, password)
        except paramiko.PasswordRequiredException:
            raise _Locked from None
        except (paramiko.SSHException, ValueError, IndexError, TypeError, AssertionError) as error:
            errors.append(error)
            continue
        with contextlib.suppress(OSError, ValueError, paramiko.SSHException):
            if os.path.exists(f"{path}-cert.pub"):
                key.load_certificate(f"{path}-cert.pub")
        return key
    if password is not None:
        raise _Locked
    raise _NoKey(printable(str(errors[-1])))


def _public_key(path: str) -> bytes:
    """What lies beside a key file as its public half; empty where nothing of use does."""
    import base64

    for candidate in (path, f"{path}.pub") if path.endswith(".pub") else (f"{path}.pub",):
        with contextlib.suppress(OSError, ValueError, LookupError), open(candidate, encoding="ascii") as file:
            return base64.b64decode(file.read(64 << 10).split()[1], validate=True)
    return b""


@contextlib.contextmanager
def _agent_keys(path: str) -> Iterator[tuple[paramiko.PKey, ...]]:
    """The keys of the agent at a socket, which is open as long as they are used; none where nobody answers."""
    import paramiko
    from paramiko.agent import AgentSSH

    if not path:
        yield ()
        return
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    agent = AgentSSH()
    try:
        connection.settimeout(_AGENT_SECONDS)
        try:
            connection.connect(path)
            # paramiko's own way to connect reads the environment.
            agent._connect(connection)  # type: ignore[attr-defined]
        except (OSError, paramiko.SSHException, ValueError):
            keys: tuple[paramiko.PKey, ...] = ()
        else:
            # Signing may wait for a person who touches a token.
            connection.settimeout(None)
            keys = agent.get_keys()
        yield keys
    finally:
        connection.close()
