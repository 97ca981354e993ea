"""Checking cosign's signatures without any network.

Two formats exist: *simple signing* (a small JSON document under the tag ``sha256-….sig``, its signature in an
annotation) and *sigstore bundles* (a DSSE envelope or a bare signature, attached as a referrer). What proves that a key
was used at a certain time, a transparency log, is not looked at, nor are certificates: a key that one trusts is enough
here.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from imgmove.errors import SignatureError
from imgmove.model.digest import Digest
from imgmove.wire.signing.keys import PublicKey

SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
DSSE = "application/vnd.dsse.envelope.v1+json"
IMAGE_SIGNATURE = "https://sigstore.dev/cosign/sign/v1"
"""What an in-toto statement of cosign 3 claims that is a signature of an image, not something said about it."""

_BUNDLE = "application/vnd.dev.sigstore.bundle"
_SIGNATURE = "dev.cosignproject.cosign/signature"
_CERTIFICATE = "dev.sigstore.cosign/certificate"
_SIMPLE_TYPE = "cosign container image signature"
_IN_TOTO = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/"
_FOREIGN = "the signature was made by another key, or what it signs was changed"
_CERTIFIED = "the signature was made by another key, which came with a certificate"


def is_signature(media_type: str) -> bool:
    """Whether a layer of this type may hold a signature that can be checked here."""
    return media_type in (SIMPLE_SIGNING, DSSE) or media_type.startswith(_BUNDLE)


@dataclass(frozen=True, slots=True)
class Signature:
    """A layer of a signature's manifest."""

    media_type: str
    content: bytes
    annotations: Mapping[str, str]

    def check(self, key: PublicKey, digest: Digest) -> str:
        """Makes sure that the key signed this digest.

        Returns:
            What was signed: `IMAGE_SIGNATURE`, or the predicate type of an attestation, by which the key's owner says
            something about the image, not necessarily good.

        Raises:
            SignatureError: it didn't; the message says why.
        """
        if self.media_type == SIMPLE_SIGNING:
            return self._check_simple(key, digest)
        if self.media_type == DSSE:
            return _check_dsse(key, _object(self.content, "envelope"), digest)
        return _check_bundle(key, _object(self.content, "bundle"), digest)

    def _check_simple(self, key: PublicKey, digest: Digest) -> str:
        signature = _decoded(self.annotations.get(_SIGNATURE), "signature")
        if not key.accepts(signature, self.content):
            raise SignatureError(_CERTIFIED if self.annotations.get(_CERTIFICATE) else _FOREIGN)
        critical = _member(_object(self.content, "signed document"), "critical")
        if critical.get("type") != _SIMPLE_TYPE:
            raise SignatureError("the signed document is no signature of an image")
        named = _member(critical, "image").get("docker-manifest-digest")
        if named != str(digest):
            raise SignatureError(f"the signature is for another image, {ascii(named)[:80]}")
        return IMAGE_SIGNATURE


def _check_dsse(key: PublicKey, envelope: Mapping[str, Any], digest: Digest, foreign: str = _FOREIGN) -> str:
    """DSSE protocol, version 1: one signature of the key is enough, over type and payload together."""
    kind, payload = envelope.get("payloadType"), _decoded(envelope.get("payload"), "payload")
    if not isinstance(kind, str):
        raise SignatureError("the envelope does not say what it holds")
    encoded = kind.encode("utf-8", "surrogatepass")
    message = b"DSSEv1 %d %b %d %b" % (len(encoded), encoded, len(payload), payload)
    if not any(key.accepts(signature, message) for signature in _signatures(envelope)):
        raise SignatureError(foreign)
    if kind != _IN_TOTO:
        raise SignatureError(f"the envelope holds {ascii(kind)[:80]}, which names no image")
    return _check_statement(_object(payload, "statement"), digest)


def _signatures(envelope: Mapping[str, Any]) -> list[bytes]:
    """Those that can be read: a broken one must not hide a good one."""
    signatures = envelope.get("signatures")
    found: list[bytes] = []
    for item in signatures if isinstance(signatures, list) else ():
        try:
            found.append(_decoded(item.get("sig") if isinstance(item, dict) else None, "signature"))
        except SignatureError:
            continue
    return found


def _check_statement(statement: Mapping[str, Any], digest: Digest) -> str:
    """In-toto attestation framework, *Statement*."""
    if not str(statement.get("_type")).startswith(_STATEMENT):
        raise SignatureError("the envelope holds no in-toto statement")
    subjects = statement.get("subject")
    hashes = [item.get("digest") for item in subjects if isinstance(item, dict)] if isinstance(subjects, list) else []
    if not any(isinstance(item, dict) and item.get(digest.algorithm) == digest.hex for item in hashes):
        raise SignatureError("the signature is for another image")
    return str(statement.get("predicateType"))


def _check_bundle(key: PublicKey, bundle: Mapping[str, Any], digest: Digest) -> str:
    material = bundle.get("verificationMaterial")
    is_certified = isinstance(material, dict) and bool({"certificate", "x509CertificateChain"} & material.keys())
    foreign = _CERTIFIED if is_certified else _FOREIGN
    if "dsseEnvelope" in bundle:
        return _check_dsse(key, _member(bundle, "dsseEnvelope"), digest, foreign)
    message = _member(bundle, "messageSignature")
    hashed = message.get("messageDigest")
    if isinstance(hashed, dict):
        if hashed.get("algorithm") != digest.algorithm.upper().replace("SHA", "SHA2_"):
            raise SignatureError(f"the signature is not over the {digest.algorithm} hash by which the image is known")
        if _decoded(hashed.get("digest"), "digest") != bytes.fromhex(digest.hex):
            raise SignatureError("the signature is for another image")
    if not key.accepts_hash(_decoded(message.get("signature"), "signature"), digest):
        raise SignatureError(foreign)
    return IMAGE_SIGNATURE


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
    """Base64 of either alphabet, as DSSE asks of verifiers."""
    if not isinstance(text, str):
        raise SignatureError(f"there is no {what}")
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        raise SignatureError(f"the {what} is not base64") from None
