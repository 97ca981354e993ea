"""Everything that imgmove raises on purpose, in one tree.

Each class knows the exit status that it stands for (CLI contract, *Exit status*) and whether trying again
can help, so that neither the engine nor the command line has to look at a message to decide.

    ImgmoveError                 1
    ├── UsageError               2   what was asked for can't be meant
    │   ├── ConfigError          2   a file of the user's is wrong
    │   └── NotAvailableYet      2   understood, but not built yet
    ├── SomeFailed               3   some of many items failed, the rest are done
    ├── ContentError             4   bytes are not what their digest, size or signature says
    │   ├── DigestMismatch       4
    │   ├── SizeMismatch         4
    │   ├── MalformedContent     4   a manifest, index or archive that can't be read as one
    │   ├── SignatureError       4
    │   └── Difference           4   two places that should hold the same do not
    ├── NotFound                 5   image, tag, blob or repository
    ├── AccessDenied             6   a registry or host says no
    ├── LocalError               1   a file or folder here: permission, space, kind
    ├── Truncated                1   content that ends before it should
    │   └── ContentChanged       1   what follows belongs to another content than what came before
    ├── NetworkError             1   (trying again may help)
    │   ├── Throttled            1   429 and friends: with the delay that the server asked for
    │   └── ServerError          1   5xx
    ├── ServerRefused            1   a 4xx that is neither of the above; trying again won't help
    │   └── BeginningLost        1   an upload was forgotten whose beginning nobody has any more
    ├── QuotaReached             1   as many requests as one may make for now; left for later
    └── Interrupted            130 / 143
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

Side = Literal["source", "destination"]


class ImgmoveError(Exception):
    """What every error of imgmove's own is.

    Attributes:
        exit_status: what the process answers when this ends it.
        is_transient: whether the same operation may succeed when tried again.
        is_lesson: whether the next try will be another one because of what this one taught, so that it is not a
            matter of patience.
        side: where it happened, when that is known; filled in by the engine.
        hint: what a person could do next, without a full stop; may be empty.
    """

    exit_status: ClassVar[int] = 1
    is_transient: ClassVar[bool] = False
    is_lesson: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.side: Side | None = None

    def on(self, side: Side) -> ImgmoveError:
        """Notes the side on which it happened, unless an inner layer knew better; returns itself."""
        if self.side is None:
            self.side = side
        return self

    def alone(self) -> Self:
        """Itself, without the frames that it came through, which would keep alive all that was known in them.

        For one that is kept among many others.
        """
        error: BaseException | None = self
        while error is not None and error.__traceback__ is not None:
            error.__traceback__ = None
            error = error.__context__
        return self

    def __str__(self) -> str:
        where = f"{self.side}: " if self.side else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{where}{self.message}{hint}"


class UsageError(ImgmoveError):
    """The request contradicts itself or can't be understood."""

    exit_status = 2


class ConfigError(UsageError):
    """A settings, credentials or mirror file is wrong."""


class NotAvailableYet(UsageError):
    """A form that parses, but that this version can't do."""


class SomeFailed(ImgmoveError):
    """Some of many items failed; the others are done."""

    exit_status = 3


class ContentError(ImgmoveError):
    """Bytes are not what something says that they are."""

    exit_status = 4


class DigestMismatch(ContentError):
    """The hash of the content is another than its digest."""


class SizeMismatch(ContentError):
    """The content is longer or shorter than its descriptor says."""


class MalformedContent(ContentError):
    """A manifest, index, config or archive that breaks its format."""


class SignatureError(ContentError):
    """A signature is missing, broken, or made by another key."""


class Difference(ContentError):
    """Two places that were to hold the same content do not."""


class NotFound(ImgmoveError):
    """An image, tag, blob or repository that does not exist."""

    exit_status = 5


class AccessDenied(ImgmoveError):
    """A registry or host refuses: wrong or missing credentials, or too small a scope."""

    exit_status = 6


class LocalError(ImgmoveError):
    """A file or folder on this machine: permission, space, or of the wrong kind."""


class Truncated(ImgmoveError):
    """Content ended before its size was reached, though nothing was heard of a broken connection."""


class ContentChanged(Truncated):
    """The rest of some content belongs to another version of it than its beginning; all of it has to be read anew."""


class NetworkError(ImgmoveError):
    """A connection could not be made, broke or stalled."""

    is_transient = True


class Throttled(NetworkError):
    """The server asks for patience.

    Attributes:
        delay: seconds that it asked for, or None.
    """

    def __init__(self, message: str, *, delay: float | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.delay = delay


class ServerError(NetworkError):
    """The server failed (5xx and its proxies' 499, 522)."""

    def __init__(self, message: str, *, delay: float | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.delay = delay


class ServerRefused(ImgmoveError):
    """The server understood and refused; asking again changes nothing.

    Attributes:
        status: the HTTP status, 0 where there was none.
        code: the distribution spec's error code, such as ``TAG_INVALID``; may be empty.
    """

    def __init__(self, message: str, *, status: int = 0, code: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.code = code


class BeginningLost(ServerRefused):
    """A registry has forgotten an upload out of a pipe; who can open that again can begin anew."""


class QuotaReached(ImgmoveError):
    """A registry allows so few further requests for now that the rest is left for later."""


class Interrupted(ImgmoveError):
    """A person or the system asked the process to end.

    Attributes:
        signal_number: 2 for SIGINT, 15 for SIGTERM.
    """

    exit_status = 130

    def __init__(self, signal_number: int = 2) -> None:
        super().__init__("interrupted; run the same command again to continue")
        self.signal_number = signal_number
