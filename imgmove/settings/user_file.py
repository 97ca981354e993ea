"""Reading and replacing files that people (or other programs) wrote, without trusting their content."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from imgmove.errors import ConfigError, LocalError

_LARGEST = 8 * 1024 * 1024


def read_file(path: str) -> bytes | None:
    """The content of a user's file; None when there is no such file.

    Raises:
        ConfigError: it is a folder, or far too large to be what it should.
        LocalError: it may not be read.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(_LARGEST + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except IsADirectoryError:
        raise ConfigError(f"{path} is a folder, not a file") from None
    except (OSError, ValueError) as error:
        raise LocalError(f"{path} cannot be read: {reason(error)}") from None
    if len(content) > _LARGEST:
        raise ConfigError(f"{path} is larger than {_LARGEST >> 20} MiB, so it is not a settings file")
    return content


def read_json_object(path: str) -> dict[str, object] | None:
    """The JSON object in a user's file, empty for an empty file; None when there is no such file.

    Raises:
        ConfigError: it holds something else. The message never quotes it, since it may hold secrets.
        LocalError: it may not be read.
    """
    content = read_file(path)
    if content is None:
        return None
    if not content.strip():
        return {}
    try:
        value = json.loads(content)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path} is not JSON: {error.msg} in line {error.lineno}, column {error.colno}") from None
    except (ValueError, RecursionError):
        raise ConfigError(f"{path} is not JSON that can be read") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{path} must hold a JSON object")
    return value


def replace_json_object(path: str, value: dict[str, object]) -> None:
    """Replaces a file in one step, readable by its owner alone; a symbolic link stays and its target is replaced.

    Raises:
        LocalError: it cannot be written; what was there is unchanged.
    """
    import tempfile

    target = os.path.realpath(path)
    content = json.dumps(value, indent="\t") + "\n"
    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(target), prefix=".imgmove-")
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        raise LocalError(f"{path} cannot be written: {reason(error)}") from None
    finally:
        with suppress(OSError):
            os.unlink(temporary)


@contextmanager
def sole_writer(path: str) -> Iterator[None]:
    """Keeps other processes of imgmove from changing a file meanwhile, and makes its folder if need be.

    The folder itself is locked, so that no lock file stays behind.

    Raises:
        LocalError: the folder can be neither made nor opened.
    """
    import fcntl

    folder = os.path.dirname(os.path.realpath(path))
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise LocalError(f"{path} cannot be written: {reason(error)}") from None
    try:
        # Some network file systems have no locks; a lost entry in a race is better than no login at all.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def reason(error: Exception) -> str:
    """What the system says of a failure, in lower case and without the path."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text[:1].lower() + text[1:]
