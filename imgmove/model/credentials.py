"""What a person proves with who they are to a registry, kept apart from where it was found."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from imgmove.errors import UsageError

_HEADER = re.compile(r"[!-~]*")


@dataclass(frozen=True, slots=True)
class Credentials:
    """A name with a secret, or a token that stands for both. Its texts never show the secrets.

    Attributes:
        username: may be empty when there is a token.
        password: for basic authentication, and to ask a token server with.
        identity_token: an OAuth2 refresh token, which a token server exchanges for a bearer token.
        registry_token: a bearer token that the registry itself takes, as it is.
        origin: where they were found, for messages, such as a file or an option; empty where a person just gave them.
        is_stored: whether they were stored there by a login.

    Raises:
        UsageError: a text can't be sent: it is no UTF-8, or as a header no token. The message doesn't show it.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)
    origin: str = field(default="", compare=False)
    is_stored: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        for text in (self.username, self.password, self.identity_token, self.registry_token):
            if any("\ud800" <= character <= "\udfff" for character in text):
                raise UsageError("credentials must be valid UTF-8 text")
        if not _HEADER.fullmatch(self.registry_token):
            raise UsageError("a registry's token must be one word of printable ASCII characters")

    @classmethod
    def parse(cls, text: str, *, origin: str = "") -> Credentials:
        """Reads ``USERNAME[:PASSWORD]``, as a person types it; a password may hold colons.

        Raises:
            UsageError: there is no user name.
        """
        username, colon, password = text.partition(":")
        if not username:
            raise UsageError("credentials need a user name", hint="write them as USERNAME:PASSWORD")
        return cls(username, password, origin=origin if colon else f"{origin}, without a password")

    @property
    def description(self) -> str:
        """What they are and where they were found, for messages; nothing of them themselves."""
        what = "token" if self.identity_token or self.registry_token else "user name or password"
        return f"{what} from {self.origin}" if self.origin else what

    def __bool__(self) -> bool:
        """False when there is nothing to prove anything with."""
        return bool(self.username or self.password or self.identity_token or self.registry_token)
