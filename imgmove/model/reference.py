"""References: the names of images in registries (the distribution project's reference grammar, docker's defaults)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from imgmove.errors import MalformedContent, UsageError
from imgmove.model.digest import Digest

HUB = "docker.io"
HUB_ADDRESS = "registry-1.docker.io"
"""Where Docker Hub's registry really is."""

DEFAULT_TAG = "latest"
_HUB_ALIAS = "index.docker.io"
_LIBRARY = "library/"
LONGEST_TAG = 128
"""Characters (OCI distribution spec, *Pulling manifests*)."""
_LONGEST_REPOSITORY = 255
_LARGEST_PORT = 65535

_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_BARE_HASH = re.compile(r"(?:sha256:)?[a-f0-9]{64}|sha384:[a-f0-9]{96}|sha512:[a-f0-9]{128}")
_FILE_LIKE = re.compile(r"[.~].*|.*\\.*|.*\.(?:tar|tgz|gz|zst|json)", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reference:
    """An image in a registry. Where a tag and a digest are both given, both are kept.

    Attributes:
        host: with its port, if one was given; ``docker.io`` for Docker Hub.
        repository: the full path, ``library/`` included.
        tag: empty when there is none.
        digest: None when there is none.
    """

    host: str
    repository: str
    tag: str = ""
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str, *, default_tag: str = DEFAULT_TAG) -> Reference:
        """Reads a reference as docker does: ``alpine`` is ``docker.io/library/alpine:latest``.

        Args:
            default_tag: taken when there is neither a tag nor a digest; may be empty.

        Raises:
            UsageError: not a reference; the message says what is wrong with it.
        """
        if _BARE_HASH.fullmatch(text):
            raise UsageError(f"{text[:19]}… is an image ID, which registries don't know", hint="name a repository")
        name, tag, digest = _split(text)
        host, repository = split_host(name)
        return cls(host, _full(host, repository, text), tag or ("" if digest else default_tag), digest)

    @classmethod
    def parse_at(cls, host: str, text: str, *, default_tag: str = DEFAULT_TAG) -> Reference:
        """Reads ``REPO[:TAG][@DIGEST]`` of a registry that is known, so that nothing in the text is taken for a host.

        Raises:
            UsageError: the host or the rest is not well formed.
        """
        host = check_host(host)
        repository, tag, digest = _split(text)
        return cls(host, _full(host, repository, text), tag or ("" if digest else default_tag), digest)

    @property
    def name(self) -> str:
        """Host and repository."""
        return f"{self.host}/{self.repository}"

    @property
    def identifier(self) -> str:
        """What a registry is asked for: the digest, else the tag."""
        return str(self.digest) if self.digest else self.tag

    @property
    def familiar(self) -> str:
        """The short form that docker shows: without what its defaults would fill in, but for the tag.

        It parses back: what is left never reads as a host or as an image ID.
        """
        if self.host != HUB:
            return str(self)
        short = self.repository.removeprefix(_LIBRARY)
        if "/" not in short and not _BARE_HASH.fullmatch(short + self._suffix):
            return short + self._suffix
        first = self.repository.partition("/")[0]
        return (self.name if _reads_as_host(first) else self.repository) + self._suffix

    def with_tag(self, tag: str) -> Reference:
        """The same repository's image of another tag; a digest is dropped, as it belonged to the old one.

        Raises:
            UsageError: not a tag.
        """
        check_tag(tag)
        return replace(self, tag=tag, digest=None)

    def without_digest(self) -> Reference:
        """The same by its tag alone."""
        return replace(self, digest=None)

    @property
    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def __str__(self) -> str:
        return self.name + self._suffix


def check_tag(tag: str) -> None:
    """Makes sure that a text is a tag.

    Raises:
        UsageError: it isn't.
    """
    if not _TAG.fullmatch(tag):
        raise UsageError(
            f"not a tag: {tag!r:.140}", hint="tags are letters, digits, '_', '.' and '-', at most 128 of them"
        )


def check_host(host: str) -> str:
    """A registry's host in its normal form.

    Raises:
        UsageError: not a host.
    """
    port = host.rpartition(":")[2] if not host.endswith("]") and ":" in host else "1"
    if not _HOST.fullmatch(host) or len(port) > 5 or int(port) > _LARGEST_PORT:
        hint = f"a file is written ./{host[:60]}/…" if host.startswith(".") and host.isprintable() else ""
        raise UsageError(f"not a registry host: {host!r:.200}", hint=hint)
    return HUB if host == _HUB_ALIAS else host


def check_repository(repository: str, whole: str = "") -> None:
    """Makes sure that a text is the full path of a repository, or of a folder of repositories.

    Args:
        whole: what the person typed, for the message.

    Raises:
        UsageError: it isn't.
    """
    whole = whole or repository
    if len(repository) > _LONGEST_REPOSITORY:
        raise UsageError(f"the repository name {repository[:40]!r}… is longer than {_LONGEST_REPOSITORY} characters")
    if _REPOSITORY.fullmatch(repository):
        return
    if _FILE_LIKE.fullmatch(whole):
        hint = f"a file is written ./{whole}" if whole.isprintable() and len(whole) < 80 else ""
    elif _REPOSITORY.fullmatch(repository.lower()):
        raise UsageError(f"repository names are lower case: {whole!r:.300}", hint=f"try {_lowered(whole)[:200]}")
    else:
        hint = "write HOST/NAME:TAG; a file is written ./NAME or with its kind, as in oci:DIR"
    raise UsageError(f"not an image reference: {whole!r:.300}", hint=hint)


def split_host(name: str) -> tuple[str, str]:
    """Splits a name into its host, Docker Hub where none is written, and the rest as it stands.

    Docker's rule: a dot, a colon, capitals or ``localhost`` make the first part a host.

    Raises:
        UsageError: the first part reads as a host, but is none.
    """
    first, slash, rest = name.partition("/")
    return (check_host(first), rest) if slash and _reads_as_host(first) else (HUB, name)


def _reads_as_host(first: str) -> bool:
    return "." in first or ":" in first or first == "localhost" or first.lower() != first


def _split(text: str) -> tuple[str, str, Digest | None]:
    """Takes ``NAME[:TAG][@DIGEST]`` apart; the name is not looked at yet."""
    named, at, digest_text = text.partition("@")
    if "/" in digest_text:
        # user:password@host/name, most likely: nothing of it is repeated in the message.
        raise UsageError(
            "a reference can't hold a user or password", hint="use imgmove login, --src-creds, --dest-creds"
        )
    digest = _digest(digest_text) if at else None
    name, colon, tag = named.rpartition(":")
    if not colon or "/" in tag:
        return named, "", digest
    check_tag(tag)
    return name, tag, digest


def _full(host: str, repository: str, whole: str) -> str:
    """The repository's path with Docker Hub's ``library/`` filled in, checked."""
    if host == HUB and repository and "/" not in repository:
        repository = _LIBRARY + repository
    check_repository(repository, whole)
    return repository


def _lowered(whole: str) -> str:
    """A reference with its name in lower case, but with its tag and digest as they are."""
    named, at, digest = whole.partition("@")
    name, colon, tag = named.rpartition(":")
    return (f"{name.lower()}:{tag}" if colon and "/" not in tag else named.lower()) + at + digest


def _digest(text: str) -> Digest:
    try:
        return Digest.parse(text)
    except MalformedContent as error:
        raise UsageError(error.message) from None
