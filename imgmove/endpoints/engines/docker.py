"""Docker, through its HTTP API (Docker Engine API 1.24 and later).

Its classic store knows images by the digest of the config and layers by their chain of diffIDs; the newer containerd
store keeps manifests and blobs as they came.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import repeat
from typing import Any
from urllib.parse import quote

from imgmove.endpoints.engines.arrival import comes
from imgmove.endpoints.engines.destination import EngineImage, Way, listed
from imgmove.endpoints.engines.removal import remove
from imgmove.endpoints.engines.serving import served
from imgmove.endpoints.engines.shipment import Shipment, earlier_first, held_below, patterns_of
from imgmove.errors import (
    AccessDenied,
    ImgmoveError,
    LocalError,
    MalformedContent,
    NetworkError,
    NotFound,
    ServerRefused,
)
from imgmove.model import media_types
from imgmove.model.digest import Digest
from imgmove.model.manifest import Manifest, read_json
from imgmove.model.platform import Platform
from imgmove.model.reference import DEFAULT_TAG, Reference
from imgmove.ports import Machine, read_all
from imgmove.wire.http.errors import printable
from imgmove.wire.stream_http import AnswerReader, StreamHttp, json_lines

_ENTRIES_AN_ANSWER = 4
"""How many images take as much of a list as one takes of an answer of its own."""
_FIRST_WITH_ZSTD = 23
_LARGEST_DOCUMENT = 16 << 20
_LARGEST_ERROR = 64 << 10
_ARM = re.compile(r"armv[5-8]l?")
_WHOLE_ID = re.compile(r"[0-9a-f]{64}")
_REQUEST = re.compile(r': failed to do request: [A-Z][a-z]+ "[^"]*"')
"""What containerd tells twice, so long that the reason after it would be cut off."""


class Docker:
    """One docker daemon.

    Args:
        machine: where it runs, as far as we know.
    """

    def __init__(self, http: StreamHttp, machine: Machine, label: str) -> None:
        self._http = http
        self._machine = machine
        self._seen: dict[str, EngineImage] = {}
        self.label = label
        self.left: dict[str, str] = {}

    # --- what it is

    def platform(self) -> Platform:
        """What it runs."""
        found = Platform(_text(self._version, "Os") or "linux", _text(self._version, "Arch") or "amd64")
        machine = _text(self._info, "Architecture")
        # Which arm it is only the machine's own name tells (armv6l), and a 32-bit docker may run on another machine.
        if found.architecture == "arm" and _ARM.fullmatch(machine):
            return Platform.parse(f"{found.os}/{machine}")
        return found

    @cached_property
    def _version(self) -> dict[str, Any]:
        return self._object("/version")

    @cached_property
    def keeps_manifests(self) -> bool:
        """Whether images lie in containerd's store."""
        return ["driver-type", "io.containerd.snapshotter.v1"] in listed(self._info, "DriverStatus")

    @cached_property
    def _info(self) -> dict[str, Any]:
        return self._object("/info")

    # --- what it holds

    def full_name(self, name: str) -> str:
        """A name with its host and tag."""
        return str(Reference.parse(name))

    def find(self, name: str) -> EngineImage | None:
        """An image by its name or ID."""
        try:
            document = self._object(f"/images/{quote(name)}/json")
        except NotFound:
            return None
        found = EngineImage.inspected(_text(document, "Id"), document)
        # What an ID names never changes.
        self._seen[str(found.identity)] = found
        return found

    def is_same(self, found: EngineImage, image: Manifest) -> bool:
        """By the digest of the manifest in the newer store, of the config in the classic one."""
        if self.keeps_manifests:
            return found.identity == image.descriptor.digest
        return image.config is not None and found.identity == image.config.digest

    def held(self, image: Manifest, diff_ids: Sequence[Digest], names: Sequence[str]) -> Collection[Digest]:
        """A layer is held where some image has it on top of the same lower layers."""
        return held_below(image, diff_ids, [seen.diff_ids for seen in self._seen.values()], self._layers(names))

    def references(self, start: str = "") -> list[str]:
        """All names of images, with tags and with digests."""
        keys = ("RepoTags", "RepoDigests")
        # What comes over a line is not the whole list, where little is wanted of it.
        chosen = _chosen([f"*/{start}*"]) if start else ""
        names = {str(name) for entry in self._list(chosen) for key in keys for name in listed(entry, key)}
        return sorted(name for name in names if "<none>" not in name)

    def _layers(self, names: Sequence[str]) -> Iterator[Sequence[Digest]]:
        """The layers of images that were not seen yet, each as it is asked about."""
        if "_identities" not in vars(self):  # they are not known yet
            yield from self._unseen(_named(self._list(_chosen(patterns_of(names)))))
            # The list of all can be longer than what is missing: it counts for so many answers, which tell of nothing.
            count = self._info.get("Images")
            yield from repeat((), count // _ENTRIES_AN_ANSWER if isinstance(count, int) else 0)
        # Images between the layers of a build hold no more than those on top of them.
        yield from self._unseen(earlier_first(self._identities, names))

    def _unseen(self, identities: Iterable[str]) -> Iterator[Sequence[Digest]]:
        for identity in identities:
            if identity not in self._seen and (found := self.find(identity)) is not None:
                yield found.diff_ids

    @cached_property
    def _identities(self) -> Mapping[str, Sequence[str]]:
        """The IDs of images, with their names. What comes later in this run is seen when it comes."""
        return _named(self._list())

    def _list(self, chosen: str = "") -> list[dict[str, Any]]:
        value = read_json(self._content(f"/images/json{chosen}"), most=_LARGEST_DOCUMENT)
        return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []

    # --- taking images

    def check(self, shipment: Shipment) -> None:
        """Old ones can't unpack zstd."""
        release = re.match(r"\d{1,9}", _text(self._version, "Version"))
        missing = [layer for layer in shipment.image.layers if layer.digest not in shipment.held]
        is_zstd = any(media_types.layer_compression(layer.media_type) == "zstd" for layer in missing)
        if is_zstd and release and int(release.group()) < _FIRST_WITH_ZSTD:
            raise ServerRefused(
                f"{self.label} {_text(self._version, 'Version')} can't unpack zstd layers",
                hint="--compression gzip converts them",
            )

    def ways(self, shipment: Shipment) -> Sequence[Way]:
        """Archives; the newer store knows better than we what it lacks, so there it is let pull."""
        ways = [Way("the whole image", lambda shipment, name: self._load(shipment, name, ()))]
        if shipment.is_sparse:
            part = Way("only the missing layers", lambda shipment, name: self._load(shipment, name, shipment.held))
            ways.insert(0, part)
        if self.keeps_manifests:
            ways.insert(0, Way("what docker asked for", self._pull))
        return ways

    def name(self, temporary: str, name: str) -> None:
        """Tags it."""
        reference = Reference.parse(name)
        query = f"repo={quote(reference.name, safe='')}&tag={quote(reference.tag)}"
        self._ask("POST", f"/images/{quote(temporary)}/tag?{query}", 201)

    def forget(self, temporary: str) -> None:
        """Untags it."""
        self._ask("DELETE", f"/images/{quote(temporary)}?noprune=1", 200, 404)

    def removing(self, name: str) -> str:
        """With docker's own client."""
        return shlex.join(["docker", "rmi", name])

    def _pull(self, shipment: Shipment, temporary: str) -> None:
        repository = Reference.parse(temporary).repository
        with served(self._machine, repository, shipment.image, shipment.content) as image:
            query = f"fromImage={quote(image.repository, safe='')}&tag={image.digest}"
            try:
                status, content = self._http.order(f"/images/create?{query}", {"X-Registry-Auth": image.docker_header})
                self._check(status, content, 200)
                self._check_stream(content)
                self.name(image.reference, temporary)
            finally:
                remove(self, image.reference)

    def _load(self, shipment: Shipment, temporary: str, left_out: Collection[Digest]) -> None:
        upload = self._http.upload("/images/load?quiet=1", {"Content-Type": "application/x-tar"})
        try:
            try:
                shipment.write_archive(upload, temporary, shipment.image, left_out)
            except LocalError:
                if not upload.is_broken:
                    raise
            status, content = upload.finish()
        except NetworkError:
            # It has all of it and goes on, so the name would come when nobody looks any more.
            if upload.is_whole and comes(lambda: self.find(temporary) is not None, shipment.missing_size):
                return
            raise
        finally:
            upload.close()
        self._check(status, content, 200)
        self._check_stream(content)

    # --- giving images

    def save(self, name: str) -> AnswerReader:
        """An archive of an image, as it comes."""
        return self._opened(f"/images/get?names={quote(self.name_of_one(name), safe='')}")

    def name_of_one(self, name: str) -> str:
        """What names one image alone: of a repository without a tag docker saves all that there are.

        Raises:
            NotFound: there is no such image.
        """
        if _WHOLE_ID.fullmatch(name):
            return f"sha256:{name}"
        if name.startswith("sha256:") or "@" in name or ":" in name.rpartition("/")[2]:
            return name
        tagged = f"{name}:{DEFAULT_TAG}"
        if self.find(tagged) is not None:
            return tagged
        if self.find(name) is None:
            raise NotFound(f"{self.label} has no image {name}")
        # The beginning of an ID.
        return name

    def export(self, container: str) -> AnswerReader:
        """The root file system of a container, as it comes."""
        return self._opened(f"/containers/{quote(container, safe='')}/export")

    def close(self) -> None:
        """Closes connections."""
        self._http.close()

    # --- asking

    def _opened(self, path: str) -> AnswerReader:
        status, reader = self._http.open(path)
        if status != 200:
            content = read_all(reader, _LARGEST_ERROR)
            reader.close()
            self._check(status, content, 200)
        return reader

    def _object(self, path: str) -> dict[str, Any]:
        value = read_json(self._content(path), most=_LARGEST_DOCUMENT)
        if not isinstance(value, dict):
            raise MalformedContent(f"{self.label} answers {path} with something that is no object")
        return value

    def _content(self, path: str) -> bytes:
        return self._ask("GET", path, 200)

    def _ask(self, method: str, path: str, *expected: int) -> bytes:
        status, content = self._http.ask(method, path)
        self._check(status, content, *expected)
        return content

    def _check(self, status: int, content: bytes, *expected: int) -> None:
        if status in expected:
            return
        # What is no docker, or none that speaks plain HTTP, answers in words.
        words = content.decode(errors="replace").strip() or f"status {status}"
        said = next((str(line["message"]) for line in json_lines(content) if line.get("message")), words)
        error = self._error(said, status)
        if "HTTPS server" in said:
            error.hint = "DOCKER_TLS_VERIFY and DOCKER_CERT_PATH lead docker's own command through TLS, and imgmove too"
        raise error

    def _check_stream(self, content: bytes) -> None:
        """A load or pull has answered 200 long before it failed."""
        for line in json_lines(content):
            if line.get("error"):
                raise self._error(str(line["error"]), 500)

    def _error(self, said: str, status: int) -> ImgmoveError:
        text = f"{self.label} says: {printable(_REQUEST.sub('', said))}"
        if status == 404:
            return NotFound(text)
        return AccessDenied(text) if status in (401, 403) else ServerRefused(text, status=status)


def _text(document: dict[str, Any], key: str) -> str:
    value = document.get(key)
    return value if isinstance(value, str) else ""


def _chosen(patterns: Sequence[str]) -> str:
    """The query for images of such names alone."""
    return f"?filters={quote(json.dumps({'reference': list(patterns)}))}"


def _named(entries: Iterable[dict[str, Any]]) -> Mapping[str, Sequence[str]]:
    """The IDs of images in a list, with their names."""
    return {str(item["Id"]): [str(name) for name in listed(item, "RepoTags")] for item in entries if item.get("Id")}
