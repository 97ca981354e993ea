"""What real registries do that the spec does not foresee, as values that a test hands to its server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Failure:
    """The first ``count`` requests of a kind get ``status``.

    Attributes:
        kind: such as ``GET blob`` or ``* manifest``; see `kind_of`.
        retry_after: as the header says it, in seconds or as a date; empty for none.
        reads_body: takes the request's body before it fails, as a server behind a proxy does.
        code: the spec's error code; empty for one that says nothing.
    """

    kind: str
    status: int
    count: int = 1
    retry_after: str = ""
    reads_body: bool = True
    code: str = ""


@dataclass(frozen=True, slots=True)
class Drop:
    """The first ``count`` requests of a kind lose their connection after ``after`` bytes of a body."""

    kind: str
    after: int
    count: int = 1
    direction: Literal["download", "upload"] = "download"


@dataclass(frozen=True, slots=True)
class Stall:
    """The first ``count`` requests of a kind wait for ``seconds`` after ``after`` bytes of the answer's body."""

    kind: str
    after: int
    seconds: float
    count: int = 1


@dataclass(frozen=True, slots=True)
class TokenAuth:
    """Bearer tokens, whose realm is the registry itself (``/token``).

    Attributes:
        users: passwords by user.
        anonymous_pull: repositories whose name begins so may be pulled without a password.
        expires_in: seconds, as the answer says it and as the registry takes it; 0 leaves it out and means 60.
        uses: requests that one token is good for, so that tests of expiry need no clock; 0 for any number.
        field: the name of the token in the answer.
        scopes: whether all scopes of one request for a token are granted, or only the first.
        oauth2: whether POST is understood; else it gets 404.
    """

    users: Mapping[str, str] = field(default_factory=lambda: {"alice": "s3cret"})
    anonymous_pull: str = "public/"
    expires_in: int = 60
    uses: int = 0
    field: Literal["token", "access_token"] = "token"
    scopes: Literal["all", "first"] = "all"
    oauth2: bool = True


@dataclass(frozen=True, slots=True)
class Quirks:
    """How a registry differs from the spec; the default is one that does not.

    Attributes:
        failures, drops, stalls: see there.
        location: of uploads: a path as imgmove itself says it, a URL, one with a query, one without its port,
            or a path relative to the request's.
        digest_header: ``Docker-Content-Digest`` of manifests and blobs.
        head: False answers HEAD of manifests and blobs with 405.
        head_denies: HEAD of a manifest that is not there gets 403.
        ranges: False answers a ranged request with the whole.
        chunks: ``refused`` answers PATCH 405, ``one`` answers so from the second on.
        patch_status: what a PATCH is answered.
        stuck_range: the ``Range`` of an upload stays what it was after the first chunk.
        chunk_min_length: says so in ``OCI-Chunk-Min-Length``, and refuses a chunk after a shorter one; 0 for none.
        mount: ``needs-from`` refuses a mount without ``from`` (400), ``refused`` each (400), ``ignored`` begins
            an upload instead.
        referrers: the status that the referrers API answers with instead of its list; 404 also stops
            ``OCI-Subject``.
        largest_request: a longer body gets 413; 0 for no limit.
        tag_delete: the status for deleting a tag.
        length_error: added to the ``Content-Length`` of blobs.
        redirect_to: the URL of a `BlobOrigin` that blobs are fetched from; ``loop`` leads back to the same path.
        swapped: by digest, what is sent instead of a blob or manifest.
        flipped: the offset of the byte in each blob whose lowest bit is turned over; None for none.
        basic: passwords by user; empty asks for none.
        token: asks for bearer tokens.
        largest_page: entries in a list.
        refuses_pages_over: ``n`` above this gets 400; 0 for no limit.
        catalog: False answers 404 there.
        sha512: False refuses digests other than sha256, as older registries do.
        pulls_left: how many manifests may be fetched in one window, told as Docker Hub does; None tells nothing.
        window: seconds that a window lasts; 0 is Docker Hub's six hours, of which it does not tell the rest.
    """

    failures: tuple[Failure, ...] = ()
    drops: tuple[Drop, ...] = ()
    stalls: tuple[Stall, ...] = ()
    location: Literal["path", "url", "query", "no-port", "relative"] = "path"
    digest_header: Literal["right", "missing", "wrong"] = "right"
    head: bool = True
    head_denies: bool = False
    ranges: bool = True
    chunks: Literal["any", "one", "refused"] = "any"
    patch_status: int = 202
    stuck_range: bool = False
    chunk_min_length: int = 0
    mount: Literal["any", "needs-from", "refused", "ignored"] = "any"
    referrers: int | None = None
    largest_request: int = 0
    tag_delete: int | None = None
    length_error: int = 0
    redirect_to: str = ""
    swapped: Mapping[str, bytes] = field(default_factory=dict)
    flipped: int | None = None
    basic: Mapping[str, str] = field(default_factory=dict)
    token: TokenAuth | None = None
    largest_page: int = 10_000
    refuses_pages_over: int = 0
    catalog: bool = True
    sha512: bool = True
    pulls_left: int | None = None
    window: int = 0
