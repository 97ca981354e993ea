"""Signatures made by real tools, and by keys of our own; each of them changed a little."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from hypothesis import given
from hypothesis import strategies as st

from imgmove.errors import SignatureError, UsageError
from imgmove.model.digest import Digest
from imgmove.wire import signing
from tests.conftest import FIXTURES

SIGNATURES = FIXTURES / "signatures"
DIGEST = Digest.of(b"an image")
ANNOTATION = "dev.cosignproject.cosign/signature"


def public(key: Any) -> bytes:
    """A private key's other half as PEM."""
    pem: bytes = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem


def sign(key: Any, message: bytes) -> bytes:
    """As cosign signs with a key of its kind."""
    signature: bytes
    if isinstance(key, ec.EllipticCurvePrivateKey):
        kind = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}[key.curve.key_size]
        signature = key.sign(message, ec.ECDSA(kind))
    elif isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(message, padding.PKCS1v15(), hashes.SHA256())
    else:
        signature = key.sign(message)
    return signature


def simple(key: Any, digest: Digest = DIGEST, kind: str = "cosign container image signature") -> signing.Signature:
    payload = json.dumps({"critical": {"type": kind, "image": {"docker-manifest-digest": str(digest)}}}).encode()
    text = base64.b64encode(sign(key, payload)).decode()
    return signing.Signature(signing.SIMPLE_SIGNING, payload, {ANNOTATION: text})


def envelope(key: Any, digest: Digest = DIGEST) -> dict[str, Any]:
    payload = json.dumps({"subject": [{"name": "", "digest": {digest.algorithm: digest.hex}}]}).encode()
    kind = b"application/vnd.in-toto+json"
    signature = sign(key, b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload))
    return {
        "payloadType": kind.decode(),
        "payload": base64.b64encode(payload).decode(),
        "signatures": [{"sig": base64.b64encode(signature).decode()}],
    }


KEYS = [
    ec.generate_private_key(ec.SECP256R1()),
    ec.generate_private_key(ec.SECP384R1()),
    ec.generate_private_key(ec.SECP521R1()),
    rsa.generate_private_key(65537, 2048),
    ed25519.Ed25519PrivateKey.generate(),
]
OTHER = ec.generate_private_key(ec.SECP256R1())


@pytest.mark.parametrize("key", KEYS, ids=["p256", "p384", "p521", "rsa", "ed25519"])
def test_every_kind_of_key(key: Any) -> None:
    loaded, other = signing.load_public_key(public(key)), signing.load_public_key(public(OTHER))
    bundle = json.dumps({"dsseEnvelope": envelope(key)}).encode()
    for signature in (
        simple(key),
        signing.Signature(signing.DSSE, json.dumps(envelope(key)).encode(), {}),
        signing.Signature("application/vnd.dev.sigstore.bundle.v0.3+json", bundle, {}),
    ):
        assert signing.is_signature(signature.media_type)
        signature.check(loaded, DIGEST)
        with pytest.raises(SignatureError, match="another key"):
            signature.check(other, DIGEST)
        with pytest.raises(SignatureError, match="another image"):
            signature.check(loaded, Digest.of(b"another image"))


def test_rsa_pss() -> None:
    key = rsa.generate_private_key(65537, 2048)
    scheme = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.MAX_LENGTH)
    assert signing.load_public_key(public(key)).accepts(key.sign(b"x", scheme, hashes.SHA256()), b"x")


def test_message_signature_bundle() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    text = base64.b64encode(key.sign(b"an image", ec.ECDSA(hashes.SHA256()))).decode()
    content = json.dumps({"messageSignature": {"signature": text}}).encode()
    signature = signing.Signature("application/vnd.dev.sigstore.bundle.v0.3+json", content, {})
    signature.check(signing.load_public_key(public(key)), DIGEST)
    with pytest.raises(SignatureError):
        signature.check(signing.load_public_key(public(key)), Digest.of(b"other"))


def test_a_signed_document_of_another_kind_is_refused() -> None:
    with pytest.raises(SignatureError, match="no signature of an image"):
        simple(KEYS[0], kind="something else").check(signing.load_public_key(public(KEYS[0])), DIGEST)


@pytest.mark.parametrize("pem", [b"", b"x", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_what_is_no_key(pem: bytes) -> None:
    with pytest.raises(UsageError):
        signing.load_public_key(pem)


def test_a_private_key_is_told_apart() -> None:
    pem = OTHER.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(UsageError, match="private key"):
        signing.load_public_key(pem)


def real(folder: str, name: str = "signature-1") -> tuple[signing.Signature, Digest]:
    """A signature in the form of containers' ``dir:``, and the digest of the manifest beside it."""
    head, _, body = (SIGNATURES / folder / name).read_bytes().partition(b"\n")
    assert head == b"\0sigstore-json"
    document = json.loads(body)
    signature = signing.Signature(
        document["mimeType"], base64.b64decode(document["payload"]), document.get("annotations") or {}
    )
    return signature, Digest.of((SIGNATURES / folder / "manifest.json").read_bytes())


def key_file(name: str) -> signing.PublicKey:
    return signing.load_public_key((SIGNATURES / name).read_bytes())


@pytest.mark.parametrize("folder", ["dir-img-cosign-valid", "dir-img-cosign-valid-with-tag"])
def test_real_signatures(folder: str) -> None:
    signature, digest = real(folder)
    signature.check(key_file("cosign.pub"), digest)
    with pytest.raises(SignatureError):
        signature.check(key_file("cosign2.pub"), digest)


def test_real_signature_with_a_log_entry() -> None:
    signature, digest = real("dir-img-cosign-key-rekor-valid")
    signature.check(key_file("cosign2.pub"), digest)


def test_a_changed_manifest_is_noticed() -> None:
    signature, digest = real("dir-img-cosign-modified-manifest")
    with pytest.raises(SignatureError, match="another image"):
        signature.check(key_file("cosign.pub"), digest)


def test_other_attachments_are_no_signatures() -> None:
    signature, _ = real("dir-img-cosign-other-attachment")
    assert not signing.is_signature(signature.media_type)


def test_a_bundle_signed_with_a_certificate() -> None:
    content = (SIGNATURES / "cosign-oci-attestation.sigstore.json").read_bytes()
    document = json.loads(content)
    subject = json.loads(base64.b64decode(document["dsseEnvelope"]["payload"]))["subject"][0]["digest"]["sha256"]
    material = document["verificationMaterial"]
    raw = (material.get("certificate") or material["x509CertificateChain"]["certificates"][0])["rawBytes"]
    certificate = x509.load_der_x509_certificate(base64.b64decode(raw))
    pem = certificate.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    signature = signing.Signature(document["mediaType"], content, {})
    signature.check(signing.load_public_key(pem), Digest("sha256", subject))
    with pytest.raises(SignatureError):
        signature.check(key_file("cosign.pub"), Digest("sha256", subject))


@given(st.data())
def test_one_changed_byte_is_enough(data: st.DataObject) -> None:
    signature, digest = real("dir-img-cosign-valid")
    content = bytearray(signature.content)
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(SignatureError):
        signing.Signature(signature.media_type, bytes(content), signature.annotations).check(
            key_file("cosign.pub"), digest
        )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["critical", "image", "dsseEnvelope", "payload", "payloadType", "signatures", "sig"]), inner
        )
    ),
    max_leaves=8,
)


@given(JSON, st.sampled_from([signing.SIMPLE_SIGNING, signing.DSSE, "application/vnd.dev.sigstore.bundle+json"]))
def test_hostile_documents_only_fail(document: object, media_type: str) -> None:
    signature = signing.Signature(media_type, json.dumps(document).encode(), {ANNOTATION: "AAAA"})
    with pytest.raises(SignatureError):
        signature.check(key_file("cosign.pub"), DIGEST)
