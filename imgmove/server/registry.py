"""The OCI distribution API over any repositories: which request goes where (distribution spec v1.1.1, *Endpoints*)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from imgmove.errors import AccessDenied, ImgmoveError, LocalError, NetworkError, NotFound, Truncated
from imgmove.server.blob_push import BlobPush
from imgmove.server.exchange import Refusal, Request, Response
from imgmove.server.grammar import check_name
from imgmove.server.listing import Listing
from imgmove.server.manifest_push import ManifestPush
from imgmove.server.pull import Pull
from imgmove.server.removal import Removal
from imgmove.server.repositories import Repositories
from imgmove.server.rules import Rules

_NAME = r"/v2/(?P<name>.+)"


@dataclass(frozen=True, slots=True)
class _Route:
    path: re.Pattern[str]
    methods: Mapping[str, Callable[..., Response]]


class Registry:
    """Answers the requests of one registry: a `Handler` for `HttpServer`."""

    def __init__(self, repositories: Repositories, rules: Rules | None = None) -> None:
        """Serves what it is handed, as far as that can: what a repository has no port for is answered 405."""
        rules = rules or Rules()
        self._blob_push = BlobPush(repositories, rules)
        self._routes = _routes(
            Pull(repositories),
            ManifestPush(repositories, rules),
            self._blob_push,
            Listing(repositories, rules),
            Removal(repositories),
        )

    def __call__(self, request: Request) -> Response:
        """Answers one request; every refusal is the spec's error document.

        Raises:
            Truncated: the client went away in the midst of its request, so nobody waits for an answer.
        """
        try:
            response = self._dispatch(request)
        except Refusal as refusal:
            response = refusal.response()
        except Truncated:
            raise
        except ImgmoveError as error:
            response = _failure(error).response()
        headers = {"Docker-Distribution-API-Version": "registry/2.0", **response.headers}
        return replace(response, headers=headers)

    def close(self) -> None:
        """Forgets unfinished uploads."""
        self._blob_push.close()

    def _dispatch(self, request: Request) -> Response:
        for route in self._routes:
            found = route.path.fullmatch(request.path)
            if not found:
                continue
            handler = route.methods.get("GET" if request.method == "HEAD" else request.method)
            if handler is None:
                allowed = {"Allow": ", ".join(route.methods)}
                raise Refusal(405, "UNSUPPORTED", f"{request.method} is not for this path", allowed)
            _check_origin(request)
            arguments = found.groupdict()
            if "name" in arguments:
                check_name(arguments["name"])
            return handler(request, **arguments)
        raise Refusal(404, "UNSUPPORTED", "the registry has no such path")


def _check_origin(request: Request) -> None:
    """Changes nothing for a page of another site: a browser sends some of its requests without asking us first.

    Raises:
        Refusal: 403, the request comes from such a page (Fetch standard, *CORS-safelisted method*).
    """
    origin = request.headers.get("origin")
    is_harmless = origin is None or request.method in ("GET", "HEAD")
    if not is_harmless and str(origin).partition("://")[2] != request.headers.get("host"):
        raise Refusal(403, "DENIED", "a page of another site may change nothing here")


def _routes(
    pull: Pull, manifests: ManifestPush, blobs: BlobPush, listing: Listing, removal: Removal
) -> tuple[_Route, ...]:
    return (
        _route("/v2/?", GET=_version),
        _route("/v2/_catalog", GET=listing.catalog),
        _route(_NAME + "/tags/list", GET=listing.tags),
        _route(_NAME + "/referrers/(?P<subject>[^/]+)", GET=listing.referrers),
        _route(
            _NAME + "/manifests/(?P<reference>[^/]+)",
            GET=pull.manifest,
            PUT=manifests.put,
            DELETE=removal.manifest,
        ),
        _route(_NAME + "/blobs/uploads/?", POST=blobs.begin),
        _route(
            _NAME + "/blobs/uploads/(?P<upload>[^/]+)",
            GET=blobs.status,
            PATCH=blobs.append,
            PUT=blobs.finish,
            DELETE=blobs.cancel,
        ),
        _route(_NAME + "/blobs/(?P<digest>[^/]+)", GET=pull.blob, DELETE=removal.blob),
    )


def _route(path: str, **methods: Callable[..., Response]) -> _Route:
    return _Route(re.compile(path), methods)


def _version(request: Request) -> Response:  # noqa: ARG001 - routes are called alike
    return Response.json(200, {})


def _failure(error: ImgmoveError) -> Refusal:
    if isinstance(error, NotFound):
        return Refusal(404, "NAME_UNKNOWN", error.message)
    if isinstance(error, AccessDenied):
        return Refusal(403, "DENIED", error.message)
    if isinstance(error, NetworkError):
        return Refusal(502, "UNKNOWN", error.message)
    if isinstance(error, LocalError):
        # Where our files lie is nobody's business; why they fail, as for want of room, is.
        reason = error.message.partition(": ")[2] if error.message.startswith("/") else error.message
        return Refusal(500, "UNKNOWN", f"the registry's storage fails: {reason}")
    return Refusal(500, "UNKNOWN", error.message)
