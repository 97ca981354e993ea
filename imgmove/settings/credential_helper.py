"""Programs that keep credentials for docker and podman (docker's *Credential helper protocol*)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from imgmove.errors import ConfigError, LocalError
from imgmove.model.credentials import Credentials

# The protocol's word for "the secret is an identity token".
_TOKEN_USER = "<token>"  # noqa: S105 - the name that says "this is a token"
_NOT_FOUND = ("credentials not found", "no credentials server url", "no credentials username")


@dataclass(frozen=True)
class CredentialHelper:
    """A ``docker-credential-NAME`` on the path.

    Attributes:
        name: what follows ``docker-credential-``.
        configured_in: the file that names it, for messages.
        variables: the environment in which it is looked for and run.
        timeout: seconds that it may take; some ask a person for a passphrase.
    """

    name: str
    configured_in: str
    variables: Mapping[str, str] = field(repr=False)
    timeout: float = 120.0

    @property
    def program(self) -> str:
        """The name of the program."""
        return f"docker-credential-{self.name}"

    def get(self, server: str) -> Credentials | None:
        """What it keeps for a server; None when that is nothing.

        Raises:
            ConfigError: there is no such program, or it doesn't speak the protocol.
            LocalError: it failed or took too long.
        """
        output = self._run("get", server, secret="")
        if output is None:
            return None
        try:
            answer = json.loads(output)
            username, secret = answer["Username"], answer["Secret"]
        except (ValueError, RecursionError, TypeError, KeyError):
            raise ConfigError(f"{self.program} did not answer with a Username and a Secret for {server}") from None
        if not isinstance(username, str) or not isinstance(secret, str):
            raise ConfigError(f"{self.program} did not answer with a Username and a Secret for {server}")
        if username == _TOKEN_USER:
            return Credentials(identity_token=secret, origin=self.program, is_stored=True)
        return Credentials(username, secret, origin=self.program, is_stored=True) or None

    def store(self, server: str, credentials: Credentials) -> None:
        """Hands credentials to it to keep.

        Raises:
            ConfigError, LocalError: as for `get`; the message shows no secret.
        """
        token = credentials.identity_token
        username, secret = (_TOKEN_USER, token) if token else (credentials.username, credentials.password)
        request = {"ServerURL": server, "Username": username, "Secret": secret}
        self._run("store", json.dumps(request), secret=secret)

    def erase(self, server: str) -> None:
        """Makes it forget a server; fine when it knew nothing of it.

        Raises:
            ConfigError, LocalError: as for `get`.
        """
        self._run("erase", server, secret="")

    def _run(self, verb: str, request: str, *, secret: str) -> bytes | None:
        import subprocess

        from imgmove.settings.short_program import SaidTooMuch, run_short

        try:
            result = run_short([self._located(), verb], request.encode(), self.variables, self.timeout)
        except subprocess.TimeoutExpired:
            raise LocalError(f"{self.program} {verb} took more than {self.timeout:g} seconds") from None
        except SaidTooMuch:
            raise LocalError(f"{self.program} {verb} printed more than any answer has") from None
        except (OSError, ValueError) as error:
            raise LocalError(f"{self.program} cannot be run: {type(error).__name__}") from None
        if result.returncode == 0:
            return result.stdout
        output = (result.stdout.strip() or result.stderr.strip()).decode(errors="replace")
        if any(text in output.lower() for text in _NOT_FOUND):
            return None
        told = f": {output.splitlines()[0]:.200}" if output and not _may_tell(output, secret) else ""
        raise LocalError(f"{self.program} {verb} failed with status {result.returncode}{told}")

    def _located(self) -> str:
        import shutil

        if os.path.basename(self.name) != self.name:
            raise ConfigError(f"{self.configured_in}: {self.name!r:.80} is not the name of a credential helper")
        located = shutil.which(self.program, path=self.variables.get("PATH", os.defpath))
        if located is None:
            raise ConfigError(
                f"{self.configured_in} names the credential helper {self.program}, which is not on the PATH",
                hint="install it, or take it out of that file",
            )
        return located


def _may_tell(output: str, secret: str) -> bool:
    # A helper that fails half-way may have printed its JSON answer, or echo what it was given to keep.
    return "{" in output or (bool(secret) and secret in output)
