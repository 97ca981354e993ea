"""What one command keeps in files for as long as it runs."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from typing import BinaryIO

from imgmove.errors import ImgmoveError, LocalError
from imgmove.ports import Reader

_BLOCK = 1 << 20
_HINT = "TMPDIR says where there is room"


class Temporary:
    """Files and folders that go away with this."""

    def __init__(self) -> None:
        self._paths: list[str] = []

    def file(self, stream: BinaryIO | Reader, what: str) -> str:
        """Copies a stream into a file; returns its path.

        Args:
            what: whose content it is, for errors.

        Raises:
            LocalError: there is no room.
        """
        try:
            descriptor, path = tempfile.mkstemp(prefix="imgmove-", suffix=".tar")
            self._paths.append(path)
            with os.fdopen(descriptor, "wb") as file:
                shutil.copyfileobj(stream, file, _BLOCK)
        except ImgmoveError:
            # Whoever tries again needs the room.
            os.truncate(path, 0)
            raise
        except OSError as error:
            raise LocalError(
                f"{what} content can't be kept in a temporary file: {error.strerror}", hint=_HINT
            ) from error
        return path

    def folder(self) -> str:
        """Makes an empty folder.

        Raises:
            LocalError: none can be made.
        """
        try:
            path = tempfile.mkdtemp(prefix="imgmove-")
        except OSError as error:
            raise LocalError(f"no temporary folder can be made: {error.strerror}", hint=_HINT) from error
        self._paths.append(path)
        return path

    def close(self) -> None:
        """Removes them all."""
        for path in self._paths:
            if os.path.isdir(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                # Somebody may have tidied up before us.
                with contextlib.suppress(OSError):
                    os.unlink(path)
        self._paths.clear()
