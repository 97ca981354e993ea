"""Checking cosign's signatures without any network: the one door of cryptography.

Two formats exist: *simple signing* (a small JSON document under the tag ``sha256-….sig``, its signature in an
annotation) and *sigstore bundles* (a DSSE envelope or a bare signature, attached as a referrer). What proves that a key
was used at a certain time, a transparency log, is not looked at: a key that one trusts is enough here.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from imgmove.errors import SignatureError, UsageError
from imgmove.model.digest import Digest

SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
DSSE = "application/vnd.dsse.envelope.v1+json"
_BUNDLE = "application/vnd.dev.sigstore.bundle"
_SIGNATURE = "dev.cosignproject.cosign/signature"
_SIMPLE_TYPE = "cosign container image signature"
_IN_TOTO = "application/vnd.in-toto+json"


@dataclass(frozen=True)
class PublicKey:
    """A key that signatures are checked with."""

    _key: Any

    def accepts(self, signature: bytes, message: bytes) -> bool:
        """Whether the signature is this key's over the message."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

        key = self._key
        with contextlib.suppress(InvalidSignature):
            if isinstance(key, ec.EllipticCurvePublicKey):
                key.verify(signature, message, ec.ECDSA(_curve_hash(key)))
                return True
            if isinstance(key, ed25519.Ed25519PublicKey):
                key.verify(signature, message)
                return True
        if isinstance(key, rsa.RSAPublicKey):
            pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.AUTO)
            for scheme in (padding.PKCS1v15(), pss):
                with contextlib.suppress(InvalidSignature):
                    key.verify(signature, message, scheme, hashes.SHA256())
                    return True
        return False

    def accepts_hash(self, signature: bytes, digest: Digest) -> bool:
        """Whether the signature is this key's over content of this digest, which is not at hand (ECDSA alone)."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

        key = self._key
        if not isinstance(key, ec.EllipticCurvePublicKey) or digest.algorithm != "sha256":
            return False
        with contextlib.suppress(InvalidSignature, ValueError):
            key.verify(signature, bytes.fromhex(digest.hex), ec.ECDSA(Prehashed(hashes.SHA256())))
            return True
        return False


def load_public_key(pem: bytes) -> PublicKey:
    """Reads a public key in PEM form: ECDSA, RSA or Ed25519.

    Raises:
        UsageError: it is none.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        hint = "this is a private key; cosign public-key gives the other half" if b"PRIVATE KEY" in pem else ""
        raise UsageError("not a public key in PEM form", hint=hint) from None
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey):
        raise UsageError("only ECDSA, RSA and Ed25519 keys can be used")
    return PublicKey(key)


def is_signature(media_type: str) -> bool:
    """Whether a layer of this type may hold a signature that can be checked here."""
    return media_type in (SIMPLE_SIGNING, DSSE) or media_type.startswith(_BUNDLE)


@dataclass(frozen=True, slots=True)
class Signature:
    """A layer of a signature's manifest."""

    media_type: str
    content: bytes
    annotations: Mapping[str, str]

    def check(self, key: PublicKey, digest: Digest) -> None:
        """Makes sure that the key signed this digest.

        Raises:
            SignatureError: it didn't; the message says why.
        """
        if self.media_type == SIMPLE_SIGNING:
            signature = _decoded(self.annotations.get(_SIGNATURE), "signature")
            _check_simple(key, self.content, signature, digest)
        elif self.media_type == DSSE:
            _check_dsse(key, _object(self.content, "envelope"), digest)
        else:
            _check_bundle(key, _object(self.content, "bundle"), digest)


def _check_simple(key: PublicKey, payload: bytes, signature: bytes, digest: Digest) -> None:
    if not key.accepts(signature, payload):
        raise SignatureError("the signature was made by another key, or what it signs was changed")
    critical = _member(_object(payload, "signed document"), "critical")
    if critical.get("type") != _SIMPLE_TYPE:
        raise SignatureError("the signed document is no signature of an image")
    named = _member(critical, "image").get("docker-manifest-digest")
    if named != str(digest):
        raise SignatureError(f"the signature is for another image, {str(named)[:80]}")


def _check_dsse(key: PublicKey, envelope: Mapping[str, Any], digest: Digest) -> None:
    """DSSE protocol, version 1: the signature is over type and payload together."""
    kind, payload = envelope.get("payloadType"), _decoded(envelope.get("payload"), "payload")
    if not isinstance(kind, str):
        raise SignatureError("the envelope does not say what it holds")
    encoded = kind.encode("utf-8", "surrogatepass")
    message = b"DSSEv1 %d %b %d %b" % (len(encoded), encoded, len(payload), payload)
    signatures = envelope.get("signatures")
    texts = [item.get("sig") for item in signatures if isinstance(item, dict)] if isinstance(signatures, list) else []
    if not any(key.accepts(_decoded(text, "signature"), message) for text in texts):
        raise SignatureError("the signature was made by another key, or what it signs was changed")
    if kind != _IN_TOTO:
        raise SignatureError(f"the envelope holds {kind[:80]}, which names no image")
    subjects = _object(payload, "statement").get("subject")
    hashes = [item.get("digest") for item in subjects if isinstance(item, dict)] if isinstance(subjects, list) else []
    if not any(isinstance(item, dict) and item.get(digest.algorithm) == digest.hex for item in hashes):
        raise SignatureError("the signature is for another image")


def _check_bundle(key: PublicKey, bundle: Mapping[str, Any], digest: Digest) -> None:
    if "dsseEnvelope" in bundle:
        _check_dsse(key, _member(bundle, "dsseEnvelope"), digest)
        return
    message = _member(bundle, "messageSignature")
    if not key.accepts_hash(_decoded(message.get("signature"), "signature"), digest):
        raise SignatureError("the signature was made by another key, or for another image")


def _object(content: bytes, what: str) -> Mapping[str, Any]:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise SignatureError(f"the {what} is not valid JSON") from None
    if not isinstance(document, dict):
        raise SignatureError(f"the {what} is not a JSON object")
    return document


def _member(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = document.get(key)
    if not isinstance(value, dict):
        raise SignatureError(f"the signature has no {key}")
    return value


def _decoded(text: object, what: str) -> bytes:
    if not isinstance(text, str):
        raise SignatureError(f"there is no {what}")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise SignatureError(f"the {what} is not base64") from None


def _curve_hash(key: Any) -> Any:
    """What sigstore hashes with for a curve: SHA-256 for P-256, more for larger ones."""
    from cryptography.hazmat.primitives import hashes

    return {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}.get(key.curve.key_size, hashes.SHA256())
