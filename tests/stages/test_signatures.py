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
from imgmove.errors import SignatureError
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
    text = base64.b64encode(key.sign(payload, ec.ECDSA(hashes.SHA256()))).decode()
    layer = Descriptor.of(payload, "application/vnd.dev.cosign.simplesigning.v1+json").to_json()
    layer["annotations"] = {"dev.cosignproject.cosign/signature": text}
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
