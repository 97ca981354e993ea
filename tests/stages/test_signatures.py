"""``verify --key``: which images count as signed."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

import imgmove
from imgmove.endpoints.layout import Layout
from imgmove.errors import SignatureError, UsageError
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.settings import Settings
from imgmove.wire.files import LocalFiles
from tests.images import BuiltImage, build_image, make_manifest_from

KEY, OTHER = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())


def pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def signature_of(image: BuiltImage, key: ec.EllipticCurvePrivateKey) -> BuiltImage:
    """What `cosign sign` puts beside an image."""
    document = {
        "critical": {
            "type": "cosign container image signature",
            "image": {"docker-manifest-digest": str(image.root.digest)},
        }
    }
    payload = json.dumps(document).encode()
    annotations = {"dev.cosignproject.cosign/signature": signed(key, payload)}
    return attachment(payload, "application/vnd.dev.cosign.simplesigning.v1+json", annotations)


def attestation_of(image: BuiltImage, key: ec.EllipticCurvePrivateKey, predicate: str) -> BuiltImage:
    """What `cosign attest` puts beside an image."""
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"digest": {"sha256": image.root.digest.hex}}],
        "predicateType": predicate,
    }
    payload, kind = json.dumps(statement).encode(), b"application/vnd.in-toto+json"
    envelope = {
        "payloadType": kind.decode(),
        "payload": base64.b64encode(payload).decode(),
        "signatures": [{"sig": signed(key, b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload))}],
    }
    return attachment(json.dumps(envelope).encode(), "application/vnd.dsse.envelope.v1+json", {})


def signed(key: ec.EllipticCurvePrivateKey, message: bytes) -> str:
    return base64.b64encode(key.sign(message, ec.ECDSA(hashes.SHA256()))).decode()


def attachment(payload: bytes, media_type: str, annotations: dict[str, str]) -> BuiltImage:
    """An image whose only layer is the payload."""
    layer = Descriptor.of(payload, media_type).to_json() | {"annotations": annotations}
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_MANIFEST,
        "config": Descriptor.of(b"{}", media_types.OCI_CONFIG).to_json(),
        "layers": [layer],
    }
    blobs = {Descriptor.of(item, "x").digest: item for item in (b"{}", payload)}
    return BuiltImage((make_manifest_from(manifest),), blobs)


@pytest.fixture
def session(settings: Settings) -> Iterator[imgmove.Session]:
    with imgmove.Session(settings) as session:
        yield session


def test_signed_and_not(session: imgmove.Session, tmp_path: Path) -> None:
    layout = Layout.writable(LocalFiles(), str(tmp_path / "in"))
    signed, bare = build_image(), build_image([{"bare": b"x"}])
    signed.put(layout, "signed:1")
    bare.put(layout, "bare:1")
    signature_of(signed, KEY).put(layout, f"sha256-{signed.root.digest.hex}.sig")
    place = f"oci:{tmp_path / 'in'}"
    (image,) = imgmove.verify(f"{place}:signed:1", key=pem(KEY), session=session).images
    assert image.signatures == 1
    for name, key in (("signed:1", OTHER), ("bare:1", KEY)):
        with pytest.raises(SignatureError) as caught:
            imgmove.verify(f"{place}:{name}", key=pem(key), session=session)
        assert caught.value.exit_status == 4
        assert name in str(caught.value)


def test_a_signature_of_something_else_does_not_count(session: imgmove.Session, tmp_path: Path) -> None:
    layout = Layout.writable(LocalFiles(), str(tmp_path / "in"))
    image, other = build_image(), build_image([{"other": b"x"}])
    image.put(layout, "app:1")
    signature_of(other, KEY).put(layout, f"sha256-{image.root.digest.hex}.sig")
    with pytest.raises(SignatureError, match="another image"):
        imgmove.verify(f"oci:{tmp_path / 'in'}:app:1", key=pem(KEY), session=session)


def test_an_attestation_is_no_signature(session: imgmove.Session, tmp_path: Path) -> None:
    """What the owner of the key says about an image may well be that it is bad."""
    layout = Layout.writable(LocalFiles(), str(tmp_path / "in"))
    image = build_image()
    image.put(layout, "app:1")
    place, name = f"oci:{tmp_path / 'in'}:app:1", f"sha256-{image.root.digest.hex}"
    attestation_of(image, KEY, "https://slsa.dev/provenance/v1").put(layout, f"{name}.att")
    with pytest.raises(SignatureError, match="not signed"):
        imgmove.verify(place, key=pem(KEY), session=session)
    signature_of(image, KEY).put(layout, f"{name}.sig")
    (verified,) = imgmove.verify(place, key=pem(KEY), session=session).images
    assert verified.signatures == 1


def test_a_statement_that_claims_to_sign_is_a_signature(session: imgmove.Session, tmp_path: Path) -> None:
    layout = Layout.writable(LocalFiles(), str(tmp_path / "in"))
    image = build_image()
    image.put(layout, "app:1")
    claim = attestation_of(image, KEY, "https://sigstore.dev/cosign/sign/v1")
    claim.put(layout, f"sha256-{image.root.digest.hex}.att")
    (verified,) = imgmove.verify(f"oci:{tmp_path / 'in'}:app:1", key=pem(KEY), session=session).images
    assert verified.signatures == 1


def test_a_key_that_is_none_is_noticed_before_any_image_is_read(session: imgmove.Session, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        imgmove.verify(f"oci:{tmp_path / 'missing'}:app:1", key=b"no key", session=session)
    assert str(caught.value) == "not a public key in PEM form"
