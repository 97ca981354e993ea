"""Keys in PEM files: public ones of any kind that cosign knows, and our own Ed25519 pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imgmove.errors import SignatureError, UsageError
from imgmove.model.digest import Digest

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
    from cryptography.hazmat.primitives.hashes import HashAlgorithm

_HASHES = ("sha256", "sha384", "sha512")


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that signatures are checked with."""

    _key: EllipticCurvePublicKey | RSAPublicKey | Ed25519PublicKey

    def accepts(self, signature: bytes, message: bytes) -> bool:
        """Whether the signature is this key's over the message.

        ECDSA and RSA may have hashed with any SHA-2: cosign takes SHA-256 for keys in files whatever their size, key
        services and newer releases take what fits the key (https://github.com/sigstore/cosign/issues/946).
        """
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        if isinstance(self._key, Ed25519PublicKey):
            return _is_valid(self._key, signature, message)
        return any(_is_valid(self._key, signature, message, *scheme) for scheme in self._schemes())

    def accepts_hash(self, signature: bytes, digest: Digest) -> bool:
        """Whether the signature is this key's over content of this digest, which is not at hand.

        Raises:
            SignatureError: nobody can tell: Ed25519 signs the content itself.
        """
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        if isinstance(self._key, Ed25519PublicKey):
            raise SignatureError("an Ed25519 signature of a bare file can't be checked by the file's digest")
        message = bytes.fromhex(digest.hex)
        schemes = self._schemes((digest.algorithm,), is_hashed=True)
        return any(_is_valid(self._key, signature, message, *scheme) for scheme in schemes)

    def _schemes(self, names: Sequence[str] = _HASHES, *, is_hashed: bool = False) -> list[tuple[Any, ...]]:
        """What ``verify`` of the key's kind takes beside signature and message, for each way in which it may sign."""
        from cryptography.hazmat.primitives.asymmetric import ec, padding, utils

        schemes: list[tuple[Any, ...]] = []
        for plain in map(_hash, names):
            used: HashAlgorithm | Prehashed = utils.Prehashed(plain) if is_hashed else plain
            if isinstance(self._key, ec.EllipticCurvePublicKey):
                schemes.append((ec.ECDSA(used),))
            else:
                schemes.append((padding.PKCS1v15(), used))
                schemes.append((padding.PSS(padding.MGF1(plain), padding.PSS.AUTO), used))
        return schemes


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
        raise UsageError("not a public key in PEM form", hint=_hint(pem)) from None
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey):
        raise UsageError("only ECDSA, RSA and Ed25519 keys can be used")
    return PublicKey(key)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private Ed25519 key. It never shows itself."""

    _key: Ed25519PrivateKey

    def __repr__(self) -> str:
        return "SigningKey()"

    def sign(self, message: bytes) -> bytes:
        """The signature over a message, 64 bytes, the same each time (RFC 8032)."""
        return self._key.sign(message)

    @property
    def public(self) -> PublicKey:
        """The other half."""
        return PublicKey(self._key.public_key())


def make_key_pair(passphrase: bytes = b"") -> tuple[bytes, bytes]:
    """A new Ed25519 pair in PEM form: the private key, encrypted if there is a passphrase, and the public one."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        encryption = serialization.BestAvailableEncryption(passphrase)
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, encryption)
    return private, key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)


def load_signing_key(pem: bytes, passphrase: bytes | None = None) -> SigningKey | None:
    """Reads a private Ed25519 key; None when it is encrypted and there is no passphrase.

    Raises:
        UsageError: it is none, or the passphrase is wrong.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    if b"ENCRYPTED PRIVATE KEY" in pem and passphrase is None:
        return None
    is_encrypted = b"ENCRYPTED PRIVATE KEY" in pem
    try:
        key = load_pem_private_key(pem, passphrase if is_encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        if is_encrypted:
            raise UsageError("the passphrase is wrong, or the key is broken") from None
        hint = "this is the public half" if b"PUBLIC KEY" in pem else "imgmove bundle keygen makes one"
        raise UsageError("not a private key in PEM form", hint=hint) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError("bundles are signed with Ed25519 keys only", hint="imgmove bundle keygen makes one")
    return SigningKey(key)


def _is_valid(key: Any, signature: bytes, *message_and_scheme: Any) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, *message_and_scheme)
    except (InvalidSignature, ValueError):
        # ValueError: the key is too small for this hash.
        return False
    return True


def _hash(name: str) -> HashAlgorithm:
    from cryptography.hazmat.primitives import hashes

    found: dict[str, HashAlgorithm] = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}
    return found[name]


def _hint(pem: bytes) -> str:
    if b"PRIVATE KEY" in pem:
        return "this is a private key; cosign public-key gives the other half"
    if b"BEGIN CERTIFICATE" in pem:
        return "this is a certificate; openssl x509 -pubkey -noout gives its key"
    return ""
