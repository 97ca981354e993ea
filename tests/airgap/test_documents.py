"""Sealed documents, and names at the far side."""

from __future__ import annotations

import json

import pytest

from imgmove.airgap.documents import HeldBlob, Holdings, Request, WantedImage, seal, unseal
from imgmove.airgap.rename import Rename, renamed
from imgmove.errors import ContentError, DigestMismatch, NotAvailableYet, SignatureError, UsageError
from imgmove.model.digest import Digest
from imgmove.model.reference import Reference
from imgmove.wire.signing import load_public_key, load_signing_key, make_key_pair

DIGEST = Digest.of(b"x")
HOLDINGS = Holdings("reg.example.com/", [("a:1", DIGEST)], [HeldBlob(DIGEST, 3, ("a", "b"))], "f00")


def test_there_and_back() -> None:
    kind, content = unseal(seal("receipt", HOLDINGS.to_json()), "r.json")
    assert (kind, Holdings.from_json(content)) == ("receipt", HOLDINGS)
    request = Request("f00", [WantedImage("a:1", DIGEST, (DIGEST,))])
    assert Request.from_json(unseal(seal("request", request.to_json()), "r.json", ("request",))[1]) == request


def test_seals() -> None:
    private, public = make_key_pair(b"secret")
    assert load_signing_key(private) is None
    key, trusted = load_signing_key(private, b"secret"), load_public_key(public)
    assert key is not None
    assert "secret" not in repr(key)
    sealed = seal("receipt", HOLDINGS.to_json(), key.sign)
    unseal(sealed, "r.json", accepts=trusted.accepts)
    other = load_public_key(make_key_pair()[1])
    with pytest.raises(SignatureError, match="another key"):
        unseal(sealed, "r.json", accepts=other.accepts)
    with pytest.raises(SignatureError, match="not signed"):
        unseal(seal("receipt", HOLDINGS.to_json()), "r.json", accepts=trusted.accepts)
    with pytest.raises(DigestMismatch):
        unseal(sealed.replace(b"a:1", b"a:2"), "r.json")
    relabelled = sealed.replace(b'"imgmove": "receipt"', b'"imgmove": "inventory"')
    with pytest.raises(ContentError):
        unseal(relabelled, "r.json")


@pytest.mark.parametrize("document", [b"", b"[]", b"{}", b'{"imgmove": "other", "content": {}}', b"\xff"])
def test_what_is_no_document(document: bytes) -> None:
    with pytest.raises(UsageError):
        unseal(document, "r.json")


def test_later_versions() -> None:
    document = json.loads(seal("receipt", HOLDINGS.to_json())) | {"version": 2}
    with pytest.raises(NotAvailableYet, match="newer"):
        unseal(json.dumps(document).encode(), "r.json")


@pytest.mark.parametrize(
    ("rule", "name", "expected"),
    [
        ("docker.io/library=base", "alpine:3", "docker.io/base/alpine:3"),
        ("library/alpine=os/alpine", "alpine:3", "docker.io/os/alpine:3"),
        ("quay.io/team=", "quay.io/team/app:1", "quay.io/app:1"),
        ("quay.io/te=x", "quay.io/team/app:1", "quay.io/team/app:1"),
        ("team/app/=web", "quay.io/team/app:1", "quay.io/web:1"),
    ],
)
def test_renames(rule: str, name: str, expected: str) -> None:
    assert str(renamed(Reference.parse(name), [Rename.parse(rule)])) == expected


def test_renames_that_can_not_be() -> None:
    for text in ("", "a", "=b", "a=B c"):
        with pytest.raises(UsageError):
            Rename.parse(text)
    with pytest.raises(UsageError, match="leaves nothing"):
        renamed(Reference.parse("quay.io/app:1"), [Rename.parse("app=")])


def test_documents_that_nobody_would_read_are_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    sealed = seal("receipt", HOLDINGS.to_json())
    values = sum(sealed.count(mark) for mark in (b",", b"[", b"{"))
    monkeypatch.setattr("imgmove.model.manifest._MOST_VALUES", values)
    unseal(seal("receipt", HOLDINGS.to_json()), "r.json")
    monkeypatch.setattr("imgmove.model.manifest._MOST_VALUES", values - 1)
    with pytest.raises(UsageError, match="would be too large"):
        seal("receipt", HOLDINGS.to_json())


def test_a_blob_in_thousands_of_repositories_names_a_few() -> None:
    assert HeldBlob.of(DIGEST, 3, (f"team/{number}" for number in range(10_000))).repositories == (
        "team/0",
        "team/1",
        "team/2",
    )
