"""Uploads that are under way: what came in so far, and its hash (OCI distribution spec, *Pushing Blobs*)."""

from __future__ import annotations

import secrets
import threading
import time
from contextlib import suppress

from imgmove.errors import ImgmoveError
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.ports import BlobWriter, Reader
from imgmove.server.exchange import Refusal
from imgmove.server.rules import Rules

EMPTY = {name: Digest.of(b"", name) for name in ("sha256", "sha384", "sha512")}


class Upload:
    """One blob that is coming in, hashed on its way. One thread at a time, with `lock` held.

    Attributes:
        size: bytes that are kept; may be read without the lock.
        algorithm: of the hash; may be chosen anew as long as the upload is empty.
        is_broken: nothing more can be made of it.
    """

    def __init__(self, repository: str, writer: BlobWriter, algorithm: str = "sha256") -> None:
        self.key = secrets.token_urlsafe(16)
        self.repository = repository
        self.lock = threading.Lock()
        self.size = 0
        self.is_broken = False
        self.touched = time.monotonic()
        self.algorithm = algorithm
        self._hasher = EMPTY[algorithm].hasher()
        self._writer = writer

    def choose(self, algorithm: str) -> bool:
        """Hashes with another algorithm from here on; False when it is too late for that."""
        if self.size and algorithm != self.algorithm:
            return False
        if not self.size:
            self.algorithm = algorithm
            self._hasher = EMPTY[algorithm].hasher()
        return True

    def take(self, body: Reader) -> None:
        """Appends all of a body.

        Raises:
            Truncated: the client went away; what came before is kept.
        """
        reader = _Hashed(body, self)
        try:
            self._writer.write(reader)
        finally:
            self.touched = time.monotonic()
            self.size = self._writer.resume()
            # A writer that keeps less than was hashed can't go on, since a hash does not run backwards.
            self.is_broken = self.size != reader.end

    @property
    def descriptor(self) -> Descriptor:
        """What came in so far, as a blob."""
        digest = Digest(self.algorithm, self._hasher.hexdigest())
        return Descriptor(media_types.OCTET_STREAM, digest, self.size)

    def commit(self) -> None:
        """Makes it a blob of its repository."""
        self._writer.commit(self.descriptor)

    def abort(self) -> None:
        """Forgets what came in; an error in doing so hurts nobody."""
        with suppress(ImgmoveError):
            self._writer.abort()

    def update(self, data: bytes) -> None:
        """Hashes bytes on their way to the writer."""
        self._hasher.update(data)


class _Hashed:
    """Shows an upload the bytes that its writer takes."""

    def __init__(self, body: Reader, upload: Upload) -> None:
        self._body = body
        self._upload = upload
        self.end = upload.size

    def read(self, size: int = -1, /) -> bytes:
        data = self._body.read(size)
        self._upload.update(data)
        self.end += len(data)
        return data

    def close(self) -> None:
        self._body.close()


class Uploads:
    """All uploads that are under way in a registry."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._uploads: dict[str, Upload] = {}
        self._lock = threading.Lock()

    def add(self, upload: Upload) -> None:
        """Keeps an upload for later requests, and forgets those that nobody touched for long.

        Raises:
            Refusal: there are too many.
        """
        with self._lock:
            oldest = time.monotonic() - self._rules.upload_seconds
            stale = [key for key, other in self._uploads.items() if other.touched < oldest]
            forgotten = [self._uploads.pop(key) for key in stale]
            is_full = len(self._uploads) >= self._rules.most_uploads
            if not is_full:
                self._uploads[upload.key] = upload
        for other in forgotten:
            other.abort()
        if is_full:
            upload.abort()
            raise Refusal(429, "TOOMANYREQUESTS", "too many uploads are unfinished")

    def find(self, repository: str, key: str) -> Upload:
        """The upload of that key in that repository.

        Raises:
            Refusal: BLOB_UPLOAD_UNKNOWN.
        """
        with self._lock:
            upload = self._uploads.get(key)
        if upload is None or upload.repository != repository:
            raise Refusal(404, "BLOB_UPLOAD_UNKNOWN", "no such upload")
        return upload

    def remove(self, upload: Upload) -> None:
        """Keeps it no longer; what came in is its holder's to commit or abort."""
        with self._lock:
            self._uploads.pop(upload.key, None)

    def close(self) -> None:
        """Forgets them all."""
        with self._lock:
            uploads = list(self._uploads.values())
            self._uploads.clear()
        for upload in uploads:
            upload.abort()
