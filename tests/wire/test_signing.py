"""Signatures made by real tools, and by keys of our own; each of them changed a little."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, x25519
from hypothesis import given
from hypothesis import strategies as st

from imgmove.errors import SignatureError, UsageError
from imgmove.model.digest import Digest
from imgmove.wire import signing
from tests.conftest import DATA, FIXTURES

SIGNATURES = FIXTURES / "signatures"
DIGEST = Digest.of(b"an image")
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
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


def envelope(key: Any, digest: Digest = DIGEST, **changes: object) -> dict[str, Any]:
    """An in-toto statement about the image, sealed."""
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "other", "digest": {"sha256": "0" * 64}}, {"digest": {digest.algorithm: digest.hex}}],
        "predicateType": signing.IMAGE_SIGNATURE,
    }
    return sealed(key, json.dumps(statement | changes).encode())


def sealed(key: Any, payload: bytes, kind: bytes = b"application/vnd.in-toto+json") -> dict[str, Any]:
    """A DSSE envelope."""
    signature = sign(key, b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload))
    return {
        "payloadType": kind.decode(),
        "payload": base64.b64encode(payload).decode(),
        "signatures": [{"sig": base64.b64encode(signature).decode()}],
    }


KEYS: list[Any] = [
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
        signing.Signature(BUNDLE, bundle, {}),
    ):
        assert signing.is_signature(signature.media_type)
        assert signature.check(loaded, DIGEST) == signing.IMAGE_SIGNATURE
        with pytest.raises(SignatureError, match="another key"):
            signature.check(other, DIGEST)
        with pytest.raises(SignatureError, match="another image"):
            signature.check(loaded, Digest.of(b"another image"))


def test_rsa_pss() -> None:
    key = rsa.generate_private_key(65537, 2048)
    scheme = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.MAX_LENGTH)
    assert signing.load_public_key(public(key)).accepts(key.sign(b"x", scheme, hashes.SHA256()), b"x")


def test_each_hash_that_cosign_may_take() -> None:
    """Keys in files sign with SHA-256 whatever their size, those of key services with what fits them."""
    for key in KEYS[:3]:
        for kind in (hashes.SHA256(), hashes.SHA384(), hashes.SHA512()):
            assert signing.load_public_key(public(key)).accepts(key.sign(b"x", ec.ECDSA(kind)), b"x")
        weak = key.sign(b"x", ec.ECDSA(hashes.SHA1()))
        assert not signing.load_public_key(public(key)).accepts(weak, b"x")


def test_a_key_too_small_for_a_hash_only_refuses() -> None:
    key = rsa.generate_private_key(65537, 1024)
    assert not signing.load_public_key(public(key)).accepts(b"\0" * 128, b"x")


def message_bundle(key: Any, **changes: object) -> signing.Signature:
    """As cosign's sign-blob makes for a manifest in a file: with SHA-256 for each kind of key that hashes."""
    is_ecdsa = isinstance(key, ec.EllipticCurvePrivateKey)
    signature = key.sign(b"an image", ec.ECDSA(hashes.SHA256())) if is_ecdsa else sign(key, b"an image")
    message = {
        "messageDigest": {"algorithm": "SHA2_256", "digest": base64.b64encode(bytes.fromhex(DIGEST.hex)).decode()},
        "signature": base64.b64encode(signature).decode(),
    }
    content = json.dumps({"messageSignature": message | changes}).encode()
    return signing.Signature(BUNDLE, content, {})


@pytest.mark.parametrize("key", KEYS[:4], ids=["p256", "p384", "p521", "rsa"])
def test_message_signature_bundle(key: Any) -> None:
    signature, loaded = message_bundle(key), signing.load_public_key(public(key))
    assert signature.check(loaded, DIGEST) == signing.IMAGE_SIGNATURE
    with pytest.raises(SignatureError, match="another image"):
        signature.check(loaded, Digest.of(b"other"))
    with pytest.raises(SignatureError, match="another key"):
        message_bundle(key, messageDigest=None).check(loaded, Digest.of(b"other"))
    with pytest.raises(SignatureError, match="another key"):
        signature.check(signing.load_public_key(public(OTHER)), DIGEST)


def test_message_signatures_that_a_digest_is_not_enough_for() -> None:
    with pytest.raises(SignatureError, match="sha256 hash"):
        message_bundle(KEYS[1], messageDigest={"algorithm": "SHA2_384"}).check(
            signing.load_public_key(public(KEYS[1])), DIGEST
        )
    with pytest.raises(SignatureError, match="Ed25519"):
        message_bundle(KEYS[4]).check(signing.load_public_key(public(KEYS[4])), DIGEST)


def check_dsse(document: object) -> str:
    """Against the first key."""
    signature = signing.Signature(signing.DSSE, json.dumps(document).encode(), {})
    return signature.check(signing.load_public_key(public(KEYS[0])), DIGEST)


def test_an_attestation_is_told_from_a_signature() -> None:
    assert check_dsse(envelope(KEYS[0], predicateType="https://slsa.dev/provenance/v1")).startswith("https://slsa")


def test_one_good_signature_of_several_is_enough() -> None:
    document = envelope(KEYS[0])
    good = document["signatures"]
    document["signatures"] = [None, {}, {"sig": "?"}, {"sig": "AAAA"}, *good]
    assert check_dsse(document) == signing.IMAGE_SIGNATURE
    document["signatures"] = [{"sig": good[0]["sig"].replace("+", "-").replace("/", "_")}]
    assert check_dsse(document) == signing.IMAGE_SIGNATURE
    document["signatures"] = []
    with pytest.raises(SignatureError, match="another key"):
        check_dsse(document)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (sealed(KEYS[0], b"{}", b"text/plain"), "names no image"),
        (sealed(KEYS[0], b"{}"), "no in-toto statement"),
        (sealed(KEYS[0], b"[]"), "not a JSON object"),
        (sealed(KEYS[0], b"{"), "not valid JSON"),
        (envelope(KEYS[0], subject=None), "another image"),
        (envelope(KEYS[0], subject=[1, {"digest": 2}]), "another image"),
        (envelope(KEYS[0]) | {"payloadType": "text/plain"}, "another key"),
        (envelope(KEYS[0]) | {"payload": "e30="}, "another key"),
        (envelope(KEYS[0]) | {"payload": "%"}, "not base64"),
        ({}, "no payload"),
    ],
)
def test_envelopes_that_prove_nothing(document: object, reason: str) -> None:
    with pytest.raises(SignatureError, match=reason):
        check_dsse(document)


@pytest.mark.parametrize(
    "path",
    sorted((DATA / "cosign").glob("*/*.manifest.json")),
    ids=lambda path: f"{path.parent.name}-{path.name[:-14]}",
)
def test_what_cosign_itself_wrote(path: Path) -> None:
    layer = json.loads(path.read_bytes())["layers"][0]
    content = path.with_name(path.name.replace("manifest", "layer")).read_bytes()
    key = signing.load_public_key((path.parent / "key.pub").read_bytes())
    signature = signing.Signature(layer["mediaType"], content, layer.get("annotations") or {})
    assert signing.is_signature(signature.media_type)
    digest = Digest.of((DATA / "cosign" / "image.json").read_bytes())
    claims_to_sign = signature.check(key, digest) == signing.IMAGE_SIGNATURE
    assert claims_to_sign == path.name.startswith(("signature", "referrer"))
    with pytest.raises(SignatureError, match="another image"):
        signature.check(key, DIGEST)
    with pytest.raises(SignatureError, match="another key"):
        signature.check(signing.load_public_key(public(OTHER)), digest)


def test_that_there_is_something_of_cosign() -> None:
    assert len(list((DATA / "cosign").glob("*/*.manifest.json"))) == 16


def test_a_signed_document_of_another_kind_is_refused() -> None:
    with pytest.raises(SignatureError, match="no signature of an image"):
        simple(KEYS[0], kind="something else").check(signing.load_public_key(public(KEYS[0])), DIGEST)


def test_a_certificate_is_told_apart() -> None:
    with pytest.raises(UsageError, match="openssl x509"):
        signing.load_public_key(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")


def test_a_key_that_cannot_sign() -> None:
    with pytest.raises(UsageError, match="only ECDSA, RSA and Ed25519"):
        signing.load_public_key(public(x25519.X25519PrivateKey.generate()))


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


def container(path: Path) -> signing.Signature:
    """A signature in the form of containers' ``dir:``."""
    head, _, body = path.read_bytes().partition(b"\n")
    assert head == b"\0sigstore-json"
    document = json.loads(body)
    annotations = document.get("annotations") or {}
    return signing.Signature(document["mimeType"], base64.b64decode(document["payload"]), annotations)


def real(folder: str) -> tuple[signing.Signature, Digest]:
    """A signature, and the digest of the manifest beside it."""
    return container(SIGNATURES / folder / "signature-1"), Digest.of(
        (SIGNATURES / folder / "manifest.json").read_bytes()
    )


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
    with pytest.raises(SignatureError, match="certificate"):
        signature.check(key_file("cosign.pub"), Digest("sha256", subject))


def test_a_signature_container_of_an_unknown_key() -> None:
    signature = container(SIGNATURES / "unknown-cosign-key.signature")
    for name in ("cosign.pub", "cosign2.pub"):
        with pytest.raises(SignatureError, match="another key"):
            signature.check(key_file(name), DIGEST)


def test_a_signature_whose_key_lies_in_its_own_log_entry() -> None:
    """Of a layout; which image it is for is read out of it, as that image is not in the layout."""
    folder = FIXTURES / "layouts" / "oc-mirror-single-arch-empty-image-sig" / "blobs" / "sha256"
    documents = [json.loads(path.read_bytes()) for path in folder.iterdir()]
    layer = next(document["layers"][0] for document in documents if document.get("layers"))
    content = (folder / layer["digest"].removeprefix("sha256:")).read_bytes()
    entry = json.loads(layer["annotations"]["dev.sigstore.cosign/bundle"])["Payload"]["body"]
    pem = json.loads(base64.b64decode(entry))["spec"]["signature"]["publicKey"]["content"]
    named = Digest.parse(json.loads(content)["critical"]["image"]["docker-manifest-digest"])
    signature = signing.Signature(layer["mediaType"], content, layer["annotations"])
    assert signature.check(signing.load_public_key(base64.b64decode(pem)), named) == signing.IMAGE_SIGNATURE


@pytest.mark.parametrize("name", ["notation-jws.sig", "notation-cose.sig"])
def test_signatures_of_another_project_are_refused(name: str) -> None:
    content = (SIGNATURES / name).read_bytes()
    for media_type in (signing.DSSE, BUNDLE):
        with pytest.raises(SignatureError):
            signing.Signature(media_type, content, {}).check(key_file("cosign.pub"), DIGEST)


@given(st.data(), st.sampled_from(["payload", "signature"]))
def test_one_changed_byte_is_enough(data: st.DataObject, where: str) -> None:
    signature, digest = real("dir-img-cosign-valid")
    signed = base64.b64decode(signature.annotations[ANNOTATION])
    content = bytearray(signature.content if where == "payload" else signed)
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    changed = (
        signing.Signature(signature.media_type, bytes(content), signature.annotations)
        if where == "payload"
        else signing.Signature(
            signature.media_type, signature.content, {ANNOTATION: base64.b64encode(content).decode()}
        )
    )
    with pytest.raises(SignatureError):
        changed.check(key_file("cosign.pub"), digest)


@pytest.mark.parametrize("text", [None, "", "?", "é", "AAAA"])
def test_signatures_that_are_none(text: str | None) -> None:
    signature, digest = real("dir-img-cosign-valid")
    annotations = {} if text is None else {ANNOTATION: text}
    with pytest.raises(SignatureError):
        signing.Signature(signature.media_type, signature.content, annotations).check(key_file("cosign.pub"), digest)


MEMBERS = [
    "critical",
    "image",
    "dsseEnvelope",
    "messageSignature",
    "messageDigest",
    "digest",
    "algorithm",
    "verificationMaterial",
    "payload",
    "payloadType",
    "signatures",
    "signature",
    "sig",
    "_type",
    "subject",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(MEMBERS),
            inner,
        )
    ),
    max_leaves=8,
)


@given(
    st.binary() | JSON.map(lambda document: json.dumps(document).encode()),
    st.sampled_from([signing.SIMPLE_SIGNING, signing.DSSE, "application/vnd.dev.sigstore.bundle+json"]),
)
def test_hostile_documents_only_fail(content: bytes, media_type: str) -> None:
    signature = signing.Signature(media_type, content, {ANNOTATION: "AAAA"})
    with pytest.raises(SignatureError):
        signature.check(key_file("cosign.pub"), DIGEST)


@given(JSON)
def test_hostile_documents_of_the_right_key_only_fail(document: object) -> None:
    content = json.dumps(document).encode()
    text = base64.b64encode(sign(KEYS[0], content)).decode()
    for signature in (
        signing.Signature(signing.SIMPLE_SIGNING, content, {ANNOTATION: text}),
        signing.Signature(signing.DSSE, json.dumps(sealed(KEYS[0], content)).encode(), {}),
    ):
        with pytest.raises(SignatureError):
            signature.check(signing.load_public_key(public(KEYS[0])), DIGEST)


def test_nesting_without_end_only_fails() -> None:
    with pytest.raises(SignatureError, match="JSON"):
        signing.Signature(signing.DSSE, b"[" * 1_000_000, {}).check(key_file("cosign.pub"), DIGEST)


def test_cryptography_is_imported_when_it_is_needed() -> None:
    program = "import sys, imgmove.wire.signing; assert 'cryptography' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
