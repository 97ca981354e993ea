"""Signatures: cosign's are checked without any network, bundles' are made and checked; the one door of cryptography."""

from __future__ import annotations

from imgmove.wire.signing.cosign import DSSE, IMAGE_SIGNATURE, SIMPLE_SIGNING, Signature, is_signature
from imgmove.wire.signing.keys import PublicKey, SigningKey, load_public_key, load_signing_key, make_key_pair

__all__ = [
    "DSSE",
    "IMAGE_SIGNATURE",
    "SIMPLE_SIGNING",
    "PublicKey",
    "Signature",
    "SigningKey",
    "is_signature",
    "load_public_key",
    "load_signing_key",
    "make_key_pair",
]
