"""Small documents that travel between the two sides: inventories, receipts, requests and reports, all of them sealed.

A seal is a checksum over the content, so that a slip is noticed, and a signature where there is a key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

from imgmove.errors import DigestMismatch, MalformedContent, NotAvailableYet, SignatureError, UsageError
from imgmove.model.digest import Digest
from imgmove.model.manifest import check_json_size, read_json_object

Kind = Literal["inventory", "receipt", "request", "report"]
KINDS: tuple[Kind, ...] = ("inventory", "receipt", "request", "report")
Signer = Callable[[bytes], bytes]
Acceptor = Callable[[bytes, bytes], bool]

LARGEST = 64 << 20
MOST_REPOSITORIES = 3
_VERSION = 1


def seal(kind: Kind, content: Mapping[str, object], signer: Signer | None = None) -> bytes:
    """The document's bytes, signed if there is a signer.

    Raises:
        UsageError: it would be larger than what `unseal` takes.
    """
    message = _message(kind, content)
    document: dict[str, object] = {"imgmove": kind, "version": _VERSION, "content": content}
    document["sha256"] = hashlib.sha256(message).hexdigest()
    if signer is not None:
        document["signature"] = base64.b64encode(signer(message)).decode("ascii")
    written = json.dumps(document, ensure_ascii=False, indent=1).encode() + b"\n"
    try:
        check_json_size(written, most=LARGEST)
    except MalformedContent as error:
        raise UsageError(f"the {kind} would be too large: {error.message}", hint="do it in parts") from None
    return written


def unseal(
    document: bytes, label: str, kinds: Sequence[Kind] = KINDS, accepts: Acceptor | None = None
) -> tuple[Kind, Mapping[str, object]]:
    """Opens a document.

    Args:
        label: what people call it, for messages.
        kinds: those that make sense here.
        accepts: whether a signature over some bytes is that of a trusted key; None to ask for none.

    Raises:
        UsageError: it is something else.
        DigestMismatch: it was changed.
        SignatureError: the key did not sign it.
        NotAvailableYet: a later version wrote it.
    """
    try:
        parsed = read_json_object(document, most=LARGEST)
    except MalformedContent as error:
        raise UsageError(f"{label} is none of imgmove's documents: {error.message}") from None
    content = parsed.get("content")
    kind = next((kind for kind in kinds if kind == parsed.get("imgmove")), None)
    if kind is None or not isinstance(content, dict):
        raise UsageError(f"{label} is no {' or '.join(kinds)}")
    if parsed.get("version") != _VERSION:
        raise NotAvailableYet(f"{label} was written by another version of imgmove", hint="a newer imgmove reads it")
    message = _message(kind, content)
    if parsed.get("sha256") != hashlib.sha256(message).hexdigest():
        raise DigestMismatch(f"{label} was changed since it was written")
    if accepts is not None:
        _check(parsed.get("signature"), message, label, accepts)
    return kind, content


def _message(kind: str, content: Mapping[str, object]) -> bytes:
    text = json.dumps(content, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return f"imgmove {kind} {_VERSION}\n{text}".encode()


def _check(signature: object, message: bytes, label: str, accepts: Acceptor) -> None:
    if not isinstance(signature, str):
        raise SignatureError(f"{label} is not signed", hint="leave out --key to take it all the same")
    try:
        decoded = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        raise SignatureError(f"the signature of {label} is not base64") from None
    if not accepts(decoded, message):
        raise SignatureError(f"{label} was signed by another key, or changed")


@dataclass(frozen=True, slots=True)
class HeldBlob:
    """A blob that the far side holds.

    Attributes:
        repositories: some of those in which it does, to mount it from; none for places without.
    """

    digest: Digest
    size: int
    repositories: tuple[str, ...] = ()

    @classmethod
    def of(cls, digest: Digest, size: int, repositories: Iterable[str]) -> HeldBlob:
        """A blob with as many of its repositories as are of use: a base layer may be in thousands."""
        return cls(digest, size, tuple(islice(repositories, MOST_REPOSITORIES)))


@dataclass(frozen=True)
class Holdings:
    """What a place holds: the content of an inventory, and of a receipt.

    Attributes:
        images: names with the digests that they stood for.
        bundle: for a receipt, the bundle that was loaded.
    """

    place: str
    images: Sequence[tuple[str, Digest]] = ()
    blobs: Sequence[HeldBlob] = ()
    bundle: str = field(default="")

    def to_json(self) -> dict[str, object]:
        """The content of the document."""
        value: dict[str, object] = {"place": self.place}
        if self.bundle:
            value["bundle"] = self.bundle
        value["images"] = [{"name": name, "digest": str(digest)} for name, digest in self.images]
        value["blobs"] = [
            {"digest": str(blob.digest), "size": blob.size, "repositories": list(blob.repositories)}
            for blob in self.blobs
        ]
        return value

    @classmethod
    def from_json(cls, content: Mapping[str, object]) -> Holdings:
        """Reads the content of a document.

        Raises:
            MalformedContent: it is another's.
        """
        images = [(str(item.get("name")), Digest.parse(item.get("digest"))) for item in objects(content, "images")]
        blobs = [
            HeldBlob(Digest.parse(item.get("digest")), whole(item, "size"), texts(item, "repositories"))
            for item in objects(content, "blobs")
        ]
        return cls(str(content.get("place")), images, blobs, str(content.get("bundle", "")))


@dataclass(frozen=True, slots=True)
class WantedImage:
    """An image that could not be completed, and the blobs that it lacks."""

    name: str
    digest: Digest
    blobs: tuple[Digest, ...]


@dataclass(frozen=True)
class Request:
    """What the far side asks for after a bundle that did not suffice."""

    bundle: str
    images: Sequence[WantedImage]

    def to_json(self) -> dict[str, object]:
        """The content of the document."""
        return {
            "bundle": self.bundle,
            "images": [
                {"name": image.name, "digest": str(image.digest), "blobs": [str(digest) for digest in image.blobs]}
                for image in self.images
            ],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, object]) -> Request:
        """Reads the content of a document.

        Raises:
            MalformedContent: it is another's.
        """
        images = [
            WantedImage(
                str(item.get("name", "")),
                Digest.parse(item.get("digest")),
                tuple(Digest.parse(text) for text in texts(item, "blobs")),
            )
            for item in objects(content, "images")
        ]
        return cls(str(content.get("bundle", "")), images)


def objects(content: Mapping[str, object], key: str) -> Iterable[Mapping[str, object]]:
    """A list of objects.

    Raises:
        MalformedContent: it is something else.
    """
    items = content.get(key)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise MalformedContent(f"{key} is not a list of objects")
    return items


def texts(content: Mapping[str, object], key: str) -> tuple[str, ...]:
    """A list of texts.

    Raises:
        MalformedContent: it is something else.
    """
    items = content.get(key, [])
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise MalformedContent(f"{key} is not a list of texts")
    return tuple(items)


def whole(content: Mapping[str, object], key: str) -> int:
    """A number that is not negative.

    Raises:
        MalformedContent: it is something else.
    """
    value = content.get(key)
    if not isinstance(value, int) or value < 0:
        raise MalformedContent(f"{key} is not a size")
    return value
