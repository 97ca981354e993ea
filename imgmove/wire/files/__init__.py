"""File systems, as the `Files` port that all file formats speak to."""

from imgmove.wire.files.errors import explained
from imgmove.wire.files.local import LocalFiles

__all__ = ["LocalFiles", "explained"]
