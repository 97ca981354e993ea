"""What the commands of ``bundle`` share: groups of options, sizes, keys, and lists of images."""

from __future__ import annotations

import getpass
import os
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from imgmove.cli.messages import Messages
from imgmove.errors import UsageError
from imgmove.model.location_grammar import parse_location
from imgmove.model.platform import Platform, as_platforms
from imgmove.settings import Settings

if TYPE_CHECKING:
    from imgmove.airgap.papers import Papers
    from imgmove.wire.signing import PublicKey, SigningKey

_MEDIA = {"dvd": 4_700_000_000, "bd": 25_000_000_000}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kKmMgGtT]?)(i?)[bB]?")


@dataclass(frozen=True)
class Choosing:
    """Which images go into a bundle."""

    from_file: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="A list of images, one a line; - for stdin.")
    ] = None
    from_manifests: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="Find images in Kubernetes YAML, Compose files and Helm values."),
    ] = None
    jsonpath: Annotated[
        list[str] | None, typer.Option(metavar="[KIND=]PATH", help="Where images stand in custom resources.")
    ] = None
    platform: Annotated[
        list[str] | None, typer.Option(metavar="OS/ARCH", help="Such as linux/arm64; the whole index without it.")
    ] = None
    referrers: Annotated[
        bool, typer.Option("--referrers/--no-referrers", help="Signatures, attestations and SBOMs travel too.")
    ] = True
    lock: Annotated[
        str, typer.Option(metavar="FILE", show_default=False, help="Pins each tag to a digest; made if missing.")
    ] = ""

    @property
    def platforms(self) -> tuple[Platform, ...]:
        """Those that were named; none for whole indexes.

        Raises:
            UsageError: one is no platform.
        """
        return as_platforms(self.platform or ())


@dataclass(frozen=True)
class Sparing:
    """What the far side has already."""

    have: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="An inventory or receipt: leave out what it lists.")
    ] = None
    since: Annotated[
        list[str] | None, typer.Option(metavar="BUNDLE", help="Leave out what an older bundle brought.")
    ] = None
    request: Annotated[
        str, typer.Option(metavar="FILE", show_default=False, help="Carry just what a load asked for.")
    ] = ""


@dataclass(frozen=True)
class Cutting:
    """Volumes, for media that are too small for all."""

    volume_size: Annotated[
        str, typer.Option(metavar="SIZE", show_default=False, help="Cut into volumes: 4G, dvd (4.7G) or bd (25G).")
    ] = ""
    volume: Annotated[
        int, typer.Option(min=0, metavar="N", help="Make this volume alone again.", show_default=False)
    ] = 0

    @property
    def bytes(self) -> int:
        """Of a volume; 0 for one file.

        Raises:
            UsageError: not a size.
        """
        return parse_size(self.volume_size) if self.volume_size else 0


@dataclass(frozen=True)
class Doubting:
    """What is looked at although it should be right."""

    recheck: Annotated[
        bool, typer.Option("--recheck", help="Look at everything, even where the tag is the same already.")
    ] = False
    reread: Annotated[bool, typer.Option("--reread", help="Read and hash every blob there once more.")] = False


@dataclass(frozen=True)
class Leaving:
    """The papers that a load leaves."""

    receipt: Annotated[
        str, typer.Option(metavar="FILE", show_default=False, help="Where to write what is there now.")
    ] = ""
    request: Annotated[
        str, typer.Option(metavar="FILE", show_default=False, help="Where to write what is lacking.")
    ] = ""
    report: Annotated[str, typer.Option(metavar="FILE", show_default=False, help="The proof, as .json or .html.")] = ""
    sign_key: Annotated[
        str, typer.Option(metavar="FILE", show_default=False, help="Signs the receipt, the request and the report.")
    ] = ""

    def papers(self, bundle: str, settings: Settings) -> Papers:
        """Where they go.

        Args:
            bundle: the first file, after which a request is called that nobody named.

        Raises:
            NotFound, UsageError: there is no such key, or the report's name does not say what it is.
        """
        from imgmove.airgap.papers import Papers

        request = self.request or f"{os.path.basename(bundle)}.request.json"
        return Papers(self.receipt, request, self.report, signing_key(self.sign_key, settings))


def parse_size(text: str) -> int:
    """Bytes: ``4G`` counts in thousands as media do, ``4Gi`` in 1024s; ``dvd`` and ``bd`` are known.

    Raises:
        UsageError: not a size.
    """
    if text.lower() in _MEDIA:
        return _MEDIA[text.lower()]
    match = _SIZE.fullmatch(text.strip())
    number, unit, binary = match.groups() if match else ("0", "", "")
    factor = (1024 if binary else 1000) ** ("kmgt".index(unit.lower()) + 1) if unit else 1
    found = int(float(number) * factor)
    if not found:
        raise UsageError(f"not a size: {text!r:.40}", hint="write it like 700M, 4G, dvd or bd")
    return found


def public_key(path: str) -> PublicKey | None:
    """The key in a file; None for no file.

    Raises:
        NotFound, UsageError: there is none.
    """
    if not path:
        return None
    from imgmove.airgap.keys import read_public_key

    return read_public_key(path)


def signing_key(path: str, settings: Settings) -> SigningKey | None:
    """The key in a file, decrypted; None for no file.

    Raises:
        NotFound, UsageError: there is none, or nobody knows its passphrase.
    """
    if not path:
        return None
    from imgmove.airgap.keys import read_signing_key

    return read_signing_key(path, settings.passphrase, _ask if sys.stdin.isatty() else None)


def _ask(path: str) -> bytes:
    return getpass.getpass(f"Passphrase of {path}: ").encode()


def asked_passphrase() -> bytes:
    """A passphrase, typed twice.

    Raises:
        UsageError: nobody is there, or the two differ.
    """
    if not sys.stdin.isatty():
        raise UsageError("there is nobody to ask for a passphrase", hint="set IMGMOVE_PASSPHRASE")
    one, two = getpass.getpass("Passphrase: "), getpass.getpass("Once more: ")
    if one != two or not one:
        raise UsageError("the two passphrases differ" if one != two else "the passphrase is empty")
    return one.encode()


def listed(files: list[str] | tuple[str, ...]) -> list[str]:
    """The images in lists, one a line; what follows a # is a comment.

    Raises:
        LocalError: a list can't be read.
        UsageError: a line is no image; the message names file and line.
    """
    from imgmove.airgap.known import read_document

    found: list[str] = []
    for path in files:
        content = sys.stdin.buffer.read() if path == "-" else read_document(path)
        for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
            image = line.partition(" #")[0].strip()
            if image and not image.startswith("#"):
                found.append(_checked(image, f"{path}:{number}"))
    return found


def _checked(image: str, where: str) -> str:
    try:
        parse_location(image)
    except UsageError as error:
        raise UsageError(f"{where}: {error.message}", hint=error.hint) from None
    return image


def discovered(choosing: Choosing, messages: Messages) -> list[str]:
    """The images that manifests mention, after telling where, and what could not be decided.

    Raises:
        NotFound, UsageError: a file is not there, no YAML, or nothing was found.
    """
    if choosing.jsonpath and not choosing.from_manifests:
        raise UsageError("--jsonpath needs --from-manifests")
    if not choosing.from_manifests:
        return []
    from imgmove.airgap.discovery import discover
    from imgmove.airgap.jsonpath import JsonPath

    found = discover(choosing.from_manifests, [JsonPath.parse(text) for text in choosing.jsonpath or ()])
    for item in found.found:
        messages.note(f"{item.where}: {item.reference}")
    for doubt in found.undecided:
        messages.note(f"{doubt.where}: not decided: {doubt.text} ({doubt.reason})")
    if not found.found:
        raise UsageError("no image was found in what --from-manifests names")
    return found.references
