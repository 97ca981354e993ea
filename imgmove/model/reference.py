"""References: the names of images in registries (the distribution project's reference grammar, docker's defaults)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from imgmove.errors import MalformedContent, UsageError
from imgmove.model.digest import Digest

HUB = "docker.io"
_HUB_ALIAS = "index.docker.io"
_LIBRARY = "library/"
_LONGEST_REPOSITORY = 255

_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_BARE_HASH = re.compile(r"(?:sha256:)?[a-f0-9]{64}")


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
    def parse(cls, text: str, *, default_tag: str = "latest") -> Reference:
        """Reads a reference as docker does: ``alpine`` is ``docker.io/library/alpine:latest``.

        Args:
            default_tag: taken when there is neither a tag nor a digest; may be empty.

        Raises:
            UsageError: not a reference; the message says what is wrong with it.
        """
        if _BARE_HASH.fullmatch(text):
            raise UsageError(f"{text[:19]}… is an image ID, which registries don't know", hint="name a repository")
        named, at, digest_text = text.partition("@")
        digest = _digest(digest_text, text) if at else None
        head, colon, tail = named.rpartition(":")
        name, tag = (head, tail) if colon and "/" not in tail else (named, "")
        if colon and name == head and not _TAG.fullmatch(tag):
            raise UsageError(f"not a tag: {tag!r:.140} in {text!r:.300}")
        host, repository = _normal_name(name, text)
        return cls(host, repository, tag or ("" if digest else default_tag), digest)

    @classmethod
    def parse_repository(cls, text: str) -> Reference:
        """Reads the name of a repository, without a tag or a digest.

        Raises:
            UsageError: not one.
        """
        reference = cls.parse(text, default_tag="")
        if reference.tag or reference.digest:
            raise UsageError(f"{text!r:.300} names an image", hint=f"the repository is {reference.name}")
        return reference

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
        """The short form that docker shows: without what its defaults would fill in, but for the tag."""
        name = self.name
        if self.host == HUB:
            name = self.repository
            rest = name.removeprefix(_LIBRARY)
            if "/" not in rest:
                name = rest
        return name + self._suffix

    def with_tag(self, tag: str) -> Reference:
        """The same repository's image of another tag; a digest is dropped, as it belonged to the old one.

        Raises:
            UsageError: not a tag.
        """
        check_tag(tag)
        return replace(self, tag=tag, digest=None)

    def with_digest(self, digest: Digest) -> Reference:
        """The same, tag included, with this digest."""
        return replace(self, digest=digest)

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
    if not _HOST.fullmatch(host):
        raise UsageError(f"not a registry host: {host!r:.200}")
    return HUB if host == _HUB_ALIAS else host


def _normal_name(name: str, whole: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if slash and _is_host(first):
        host, repository = check_host(first), rest
    else:
        host, repository = HUB, name
    if host == HUB and "/" not in repository:
        repository = _LIBRARY + repository
    _check_repository(repository, whole)
    return host, repository


def _is_host(first: str) -> bool:
    """Docker's rule: a dot, a colon, capitals or ``localhost`` make the first part a host."""
    return _reads_as_host(first) and bool(_HOST.fullmatch(first))


def _reads_as_host(first: str) -> bool:
    return "." in first or ":" in first or first == "localhost" or first.lower() != first


def _check_repository(repository: str, whole: str) -> None:
    if len(repository) > _LONGEST_REPOSITORY:
        raise UsageError(f"the repository name {repository[:40]}… is longer than {_LONGEST_REPOSITORY} characters")
    if _REPOSITORY.fullmatch(repository):
        return
    if _REPOSITORY.fullmatch(repository.lower()):
        raise UsageError(f"repository names are lower case: {whole!r:.300}", hint=f"try {whole.lower()[:200]}")
    hint = "a file is written with its kind, as in oci:DIR or ./FILE.tar" if not whole or "." in whole else ""
    raise UsageError(f"not an image reference: {whole!r:.300}", hint=hint)


def _digest(text: str, whole: str) -> Digest:
    try:
        return Digest.parse(text)
    except MalformedContent as error:
        raise UsageError(f"{error.message} in {whole!r:.300}") from None
