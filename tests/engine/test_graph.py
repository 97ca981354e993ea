"""What is said of names that are not there, and of whom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest

from imgmove.endpoints.registry import Registries
from imgmove.engine.graph import blame, resolved
from imgmove.errors import AccessDenied, ImgmoveError, NotFound, Throttled
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.reference import Reference
from imgmove.ports import Reader
from imgmove.settings import Settings
from tests.quirks import RegistryServer


@dataclass
class Repository:
    """One that has tags, or says why it does not list them, and none of the images that it is asked for."""

    listed: Sequence[str] | ImgmoveError
    hint: str = ""

    def resolve(self, name: str) -> Descriptor:
        raise NotFound(f"no {name}", hint=self.hint)

    def open(self, descriptor: Descriptor, offset: int = 0) -> Reader:
        raise NotImplementedError

    def tags(self) -> Iterator[str]:
        if isinstance(self.listed, ImgmoveError):
            raise self.listed
        yield from self.listed

    def close(self) -> None:
        """Nothing was opened."""


@pytest.mark.parametrize(
    ("listed", "hint"),
    [
        (["1.26", "1.25", "1.2", "stable", "sha256-abc.sig"], "there is 1.2, 1.26, 1.25"),
        (["stable", "edge"], "there is stable, edge"),
        (["a", "b", "c", "d"], "no tag is like it"),
        ([], "there are no tags at all; is the repository's name right"),
        (NotFound("no such repository"), "there are no tags at all; is the repository's name right"),
        (AccessDenied("not for you"), ""),
    ],
)
def test_tags_that_are_like_it(listed: Sequence[str] | ImgmoveError, hint: str) -> None:
    with pytest.raises(NotFound) as caught:
        resolved(Repository(listed), "1.27")
    assert caught.value.hint == hint


def test_what_is_known_already_or_can_not_be_alike_is_not_looked_for() -> None:
    never = Repository(ImgmoveError("asked"), hint="look elsewhere")
    with pytest.raises(NotFound, match="look elsewhere"):
        resolved(never, "1")
    with pytest.raises(NotFound) as caught:
        resolved(Repository(["1"]), str(Digest.of(b"absent")))
    assert caught.value.hint == ""


def test_one_more_request_and_only_where_it_failed(registry: RegistryServer, settings: Settings) -> None:
    root = registry.put_image("app", *(str(number) for number in range(3)))
    registries = Registries(settings)
    source = registries.source(Reference.parse(f"{registry.host}/app"))
    assert resolved(source, "1") == root
    with pytest.raises(NotFound, match="there is 0, 1, 2"):
        resolved(source, "x")
    registries.close()
    assert [f"{request.method} {request.path.removeprefix('/v2/app/')}" for request in registry.seen] == [
        "HEAD manifests/1",
        "HEAD manifests/x",
        "GET tags/list",
    ]


def test_blame_leaves_an_error_that_others_share_as_it_is() -> None:
    shared = Throttled("too many requests", delay=3, hint="wait")
    shared.__cause__ = cause = ValueError("429")
    blamed = [blame(shared.on("destination"), name) for name in ("a:1", "b:1")]
    assert [str(error) for error in blamed] == [f"destination: {x}: too many requests (wait)" for x in ("a:1", "b:1")]
    assert str(shared) == "destination: too many requests (wait)"
    assert [(type(error), error.__cause__) for error in blamed] == [(Throttled, cause)] * 2
    named = NotFound("a:1 is not there")
    assert blame(named, "a:1") is named
