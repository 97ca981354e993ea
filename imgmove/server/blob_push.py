"""Answers to those who push blobs: whole, in chunks, or by mounting (OCI distribution spec, *Pushing Blobs*)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager

from imgmove.model.digest import Digest
from imgmove.ports import BlobMounter, Destination, Source
from imgmove.server.exchange import Refusal, Request, Response
from imgmove.server.grammar import parse_digest
from imgmove.server.repositories import Repositories, writable_repository
from imgmove.server.rules import Rules
from imgmove.server.uploads import EMPTY, Upload, Uploads

_CONTENT_RANGE = re.compile(r"(?:bytes[ =])?(\d{1,18})-(\d{1,18})(?:/(?:\d{1,18}|\*))?")
_PATIENCE_SECONDS = 5.0


class BlobPush:
    """The upload sessions of a registry."""

    def __init__(self, repositories: Repositories, rules: Rules) -> None:
        self._repositories = repositories
        self._uploads = Uploads(rules)

    def begin(self, request: Request, name: str) -> Response:
        """Mounts a blob, takes one that comes as a whole, or begins an upload."""
        destination = writable_repository(self._repositories, name)
        mount, digest = request.parameter("mount"), request.parameter("digest")
        if mount is not None:
            return self._mount(request.parameter("from"), name, destination, parse_digest(mount))
        if digest is not None:
            wanted = parse_digest(digest)
            upload = Upload(name, destination.put_blob(None), wanted.algorithm)
            with _forgotten_on_failure(upload):
                return self._complete(request, upload, wanted)
        algorithm = request.parameter("digest-algorithm") or "sha256"
        if algorithm not in EMPTY:
            raise Refusal(400, "DIGEST_INVALID", f"digest algorithm {algorithm!r:.40} is not supported")
        return self._open(Upload(name, destination.put_blob(None), algorithm))

    def status(self, request: Request, name: str, upload: str) -> Response:  # noqa: ARG002 - routes are called alike
        """How far an upload is."""
        return _progress(204, self._uploads.find(name, upload))

    def append(self, request: Request, name: str, upload: str) -> Response:
        """Takes the next chunk."""
        with self._hold(name, upload) as session:
            _check_order(request, session)
            self._take(request, session)
            return _progress(202, session)

    def finish(self, request: Request, name: str, upload: str) -> Response:
        """Takes the last chunk, if one comes along, and makes the whole a blob when its digest is right."""
        digest = parse_digest(request.parameter("digest") or "")
        with self._hold(name, upload) as session:
            _check_order(request, session)
            session.choose(digest.algorithm)
            return self._complete(request, session, digest)

    def cancel(self, request: Request, name: str, upload: str) -> Response:  # noqa: ARG002 - routes are called alike
        """Forgets an upload."""
        with self._hold(name, upload) as session:
            self._uploads.remove(session)
            session.abort()
        return Response(204)

    def close(self) -> None:
        """Forgets unfinished uploads."""
        self._uploads.close()

    def _open(self, upload: Upload) -> Response:
        self._uploads.add(upload)
        return _progress(202, upload)

    def _mount(self, origin: str | None, name: str, destination: Destination, digest: Digest) -> Response:
        for other in self._repositories.names() if origin is None else [origin]:
            repository = self._repositories.find(other)
            blob = repository.find_blob(digest) if repository else None
            if blob is None or not isinstance(destination, BlobMounter):
                continue
            writer = destination.mount(blob, other)
            return self._open(Upload(name, writer, digest.algorithm)) if writer else _created(name, digest)
        return self._open(Upload(name, destination.put_blob(None), digest.algorithm))

    def _take(self, request: Request, session: Upload) -> None:
        try:
            session.take(request.body)
        finally:
            if session.is_broken:
                self._uploads.remove(session)
                session.abort()
        if session.is_broken:
            raise Refusal(500, "BLOB_UPLOAD_INVALID", "part of the upload was lost")

    def _complete(self, request: Request, session: Upload, digest: Digest) -> Response:
        self._take(request, session)
        self._uploads.remove(session)
        with _forgotten_on_failure(session):
            if digest.algorithm != session.algorithm:
                self._commit_otherwise(session, digest)
            elif session.descriptor.digest == digest:
                session.commit()
            else:
                raise _wrong(digest)
        return _created(session.repository, digest)

    def _commit_otherwise(self, session: Upload, digest: Digest) -> None:
        """Commits chunks that were hashed by one algorithm and are named, at the end, by another.

        No client announces it, and hashing everything twice would cost all uploads, so it is the blob that is
        read once more: from under its first digest, where it stays as well.
        """
        destination = writable_repository(self._repositories, session.repository)
        if not isinstance(destination, Source):
            raise Refusal(400, "DIGEST_INVALID", f"begin the upload with digest-algorithm={digest.algorithm}")
        session.commit()
        copy = Upload(session.repository, destination.put_blob(None), digest.algorithm)
        with _forgotten_on_failure(copy):
            with closing(destination.open(session.descriptor)) as content:
                copy.take(content)
            if copy.descriptor.digest != digest:
                raise _wrong(digest)
            copy.commit()

    @contextmanager
    def _hold(self, name: str, key: str) -> Iterator[Upload]:
        session = self._uploads.find(name, key)
        # A client that lost its connection asks again while the old request may still wait for its bytes.
        if not session.lock.acquire(timeout=_PATIENCE_SECONDS):
            raise Refusal(409, "BLOB_UPLOAD_INVALID", "another request writes to this upload")
        try:
            yield self._uploads.find(name, key)
        finally:
            session.lock.release()


@contextmanager
def _forgotten_on_failure(session: Upload) -> Iterator[None]:
    """Leaves nothing of an upload that no later request can go on with."""
    try:
        yield
    except BaseException:
        session.abort()
        raise


def _check_order(request: Request, session: Upload) -> None:
    """Refuses a chunk that does not begin where the last one ended.

    Raises:
        Refusal: 416 for a chunk out of order, 400 for one that is not as long as it says.
    """
    text = request.headers.get("content-range")
    if text is None:
        return
    found = _CONTENT_RANGE.fullmatch(text.strip())
    if not found or int(found[2]) < int(found[1]):
        raise Refusal(416, "BLOB_UPLOAD_INVALID", f"Content-Range {text!r:.60} is no range", _place(session))
    if int(found[1]) != session.size:
        raise Refusal(416, "BLOB_UPLOAD_INVALID", f"the next chunk begins at {session.size}", _place(session))
    announced = request.body.size
    if announced is not None and announced != int(found[2]) - int(found[1]) + 1:
        raise Refusal(400, "SIZE_INVALID", "Content-Range and Content-Length differ")


def _place(session: Upload) -> dict[str, str]:
    return {
        "Location": f"/v2/{session.repository}/blobs/uploads/{session.key}",
        # An empty upload is 0-0 as well, which is how registries have always said it.
        "Range": f"0-{max(session.size - 1, 0)}",
        "Docker-Upload-UUID": session.key,
    }


def _progress(status: int, session: Upload) -> Response:
    return Response(status, _place(session))


def _created(name: str, digest: Digest) -> Response:
    return Response(201, {"Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": str(digest)})


def _wrong(digest: Digest) -> Refusal:
    return Refusal(400, "DIGEST_INVALID", f"the content's digest is not {digest}")
