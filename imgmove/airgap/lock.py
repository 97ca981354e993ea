"""The lock file: which digest every tag stood for when a bundle was made, so that it can be made again."""

from __future__ import annotations

import json

from imgmove.airgap.documents import LARGEST
from imgmove.airgap.known import read_document
from imgmove.errors import ConfigError, ContentError
from imgmove.model.digest import Digest
from imgmove.model.manifest import read_json_object
from imgmove.wire.files import LocalFiles

_VERSION = 1


def read_lock(path: str) -> dict[str, Digest]:
    """The digest of each name; empty when there is no such file yet.

    Raises:
        ConfigError: it is something else.
        LocalError: it can't be read.
    """
    if LocalFiles().status(path) is None:
        return {}
    try:
        document = read_json_object(read_document(path), most=LARGEST)
        images = document.get("images")
        if document.get("version") != _VERSION or not isinstance(images, dict):
            raise ConfigError(f"{path} is no lock file of imgmove's")
        return {str(name): Digest.parse(text) for name, text in images.items()}
    except ContentError as error:
        raise ConfigError(f"{path} is no lock file of imgmove's: {error.message}") from None


def write_lock(path: str, images: dict[str, Digest]) -> None:
    """Replaces the file.

    Raises:
        LocalError: it can't be written.
    """
    document = {"version": _VERSION, "images": {name: str(images[name]) for name in sorted(images)}}
    LocalFiles().write(path, json.dumps(document, ensure_ascii=False, indent=1).encode() + b"\n")
