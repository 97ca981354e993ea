"""Lines for people and scripts: errors, notes and results, clean of anything that a terminal would obey."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from typing import TextIO

from imgmove.errors import ImgmoveError, LocalError

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_SECRETS = re.compile(r"""(header value).+|(\?|\b(?:Basic|Bearer) |://(?=[^/\s]*@))[^\s'"<>)]+""", re.DOTALL)

_LEFT_BY_JSON = re.compile(r"[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def clean(text: str) -> str:
    """One line of text; what comes from servers and archives may hold escape sequences."""
    return _CONTROL.sub("�", text.replace("\r\n", " ").replace("\n", " ")).encode("utf-8", "replace").decode("utf-8")


class Messages:
    """Writes to stderr, as text or as JSON lines."""

    def __init__(self, *, is_quiet: bool = False, is_verbose: bool = False, as_json: bool = False) -> None:
        self.is_quiet = is_quiet
        self.is_verbose = is_verbose
        self.as_json = as_json

    def note(self, text: str) -> None:
        """Something good to know."""
        if not self.is_quiet:
            self._write("note", text)

    def detail(self, text: str) -> None:
        """Something for those who asked for more."""
        if self.is_verbose:
            self._write("detail", text)

    def line(self, text: str) -> None:
        """A line of progress."""
        self._write("progress", text)

    def error(self, error: BaseException) -> None:
        """What went wrong, in one line; with its causes for those who asked for more."""
        text = (
            str(error)
            if isinstance(error, ImgmoveError)
            else f"internal error: {type(error).__name__}: {_without_secrets(str(error))}"
        )
        self._write("error", text)
        if self.is_verbose:
            cause = error.__cause__ or (None if isinstance(error, ImgmoveError) else error)
            while cause is not None:
                self._write(
                    "detail", f"because of {type(cause).__name__}: {_without_secrets(str(cause))}{_place(cause)}"
                )
                cause = cause.__cause__

    def failure(self, text: str) -> None:
        """What went wrong with one of many things."""
        self._write("error", text)

    def _write(self, level: str, text: str) -> None:
        line = clean(text)
        if self.as_json:
            line = json.dumps({"level": level, "message": line}, ensure_ascii=False)
        elif level in ("error", "note"):
            line = f"imgmove: {line}"
        # What can't be told is no reason to stop.
        with contextlib.suppress(OSError, LocalError):
            write(sys.stderr, line)


def write(stream: TextIO, line: str) -> None:
    """Writes a line, whatever the stream's encoding can't say replaced.

    Raises:
        BrokenPipeError: whoever read it has enough.
        LocalError: there is no room for it.
    """
    encoding = stream.encoding or "utf-8"
    try:
        stream.write(line.encode(encoding, "replace").decode(encoding) + "\n")
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise unwritable(error) from error


def unwritable(error: OSError) -> LocalError:
    """What to say when the results can't be written."""
    return LocalError(f"the output can't be written: {error.strerror or error}")


def write_json(document: object) -> None:
    """Prints the one document of ``--json``, in which JSON's own escapes stand for what a terminal would obey."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    write(sys.stdout, _LEFT_BY_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def _without_secrets(text: str) -> str:
    """What libraries say, without queries and users of URLs and what was to go into a header."""
    return _SECRETS.sub(lambda found: f"{found[1] or found[2]}…", text)


def _place(error: BaseException) -> str:
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return f" (line {traceback.tb_lineno} of {traceback.tb_frame.f_code.co_name})" if traceback else ""


def counted(count: int, what: str) -> str:
    """A number of things: 1 blob, 2 blobs."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def size(count: float) -> str:
    """A number of bytes as people read it: 1.5 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
