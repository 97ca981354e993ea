"""What the system says of files, as one line of ours."""

from __future__ import annotations

import contextlib
import errno
import stat
from collections.abc import Iterator

from imgmove.errors import ImgmoveError, LocalError, NotFound

_EXPLAINED = {
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EROFS: "the file system is read-only",
    errno.ENOSPC: "no space left on the device",
    errno.EDQUOT: "the disk quota is used up",
    errno.ENOTDIR: "a part of the path is no folder",
    errno.EISDIR: "it is a folder",
    errno.ENAMETOOLONG: "the name is too long",
    errno.EFBIG: "the file system can't hold so large a file",
    errno.EIO: "the device failed",
}


@contextlib.contextmanager
def explained(path: str) -> Iterator[None]:
    """Turns what the system says into one line of ours."""
    try:
        yield
    except FileNotFoundError:
        raise NotFound(f"{path}: no such file or folder") from None
    except OSError as error:
        raise _translated(path, error) from error
    except ValueError as error:
        raise LocalError(f"{path!r:.200}: {error}") from error


def _translated(path: str, error: OSError) -> ImgmoveError:
    reason = _EXPLAINED.get(error.errno or 0) or error.strerror or type(error).__name__
    return LocalError(f"{path}: {reason}")


def not_a_file(path: str, mode: int, *, hint: str) -> LocalError:
    """What to say where something else lies than a file."""
    if stat.S_ISDIR(mode):
        return LocalError(f"{path}: {_EXPLAINED[errno.EISDIR]}")
    return LocalError(f"{path}: it is a device or pipe, not a file", hint=hint)
