"""How a registry is to be reached: values that settings decide and the wire obeys."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

from imgmove.errors import ConfigError

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What decides whom TLS trusts, and who we are to the other side.

    Attributes:
        ca_files: PEM files of authorities that are trusted besides the system's.
        client_pairs: files of a certificate and its key; of several with one type of key the first is shown.
        verify: False takes any certificate.
        roots_file: takes the place of the system's file of authorities (``SSL_CERT_FILE``); empty for that file.
        roots_folder: takes the place of the system's folders of authorities (``SSL_CERT_DIR``); empty for those.
    """

    ca_files: tuple[str, ...] = ()
    client_pairs: tuple[tuple[str, str], ...] = ()
    verify: bool = True
    roots_file: str = ""
    roots_folder: str = ""


@dataclass(frozen=True, slots=True)
class RegistryEndpoint:
    """One place to read a repository from, or to write it to.

    Attributes:
        host: with the port if one was given; ``docker.io`` as people write it, not as it is connected to.
        repository: its name at this host.
        plain_http: HTTP without TLS, at once.
        allows_http: where TLS finds no TLS server, HTTP may be tried, since the user's ``registries.conf`` says
            that this registry is insecure.
        is_named: this is the registry that the person wrote, wherever it really is, so that options about it apply.
            False for mirrors.
    """

    host: str
    repository: str
    plain_http: bool = False
    allows_http: bool = False
    tls: TlsFiles = TlsFiles()
    is_named: bool = True


def is_loopback(host: str) -> bool:
    """Whether a ``HOST[:PORT]`` is this machine by its name alone: nothing is looked up.

    Names below ``.localhost`` count (RFC 6761, section 6.3).
    """
    parts = _split(host)
    name = (parts.hostname or "").rstrip(".") if parts else ""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = _address(name)
    return address is not None and address.is_loopback


@dataclass(frozen=True, slots=True)
class ProxyRules:
    """Which proxy leads to which URL. The addresses may hold passwords and are not shown.

    The rules are those that docker, podman and skopeo follow (Go's ``net/http``): this machine is never asked
    through a proxy; an entry of ``no_proxy`` is ``*``, an address, a CIDR block, ``example.com`` (it and all below
    it) or ``.example.com`` (only below it), each but a block with an optional port.
    """

    http: str = field(default="", repr=False)
    https: str = field(default="", repr=False)
    no_proxy: tuple[str, ...] = ()

    def proxy_for(self, url: str) -> str | None:
        """The URL of the proxy for ``url``; None when it is reached directly.

        Raises:
            ConfigError: the proxy that would be used is not an HTTP or HTTPS URL.
        """
        scheme, _, rest = url.partition("://")
        proxy = {"http": self.http, "https": self.https}.get(scheme.lower(), "")
        parts = _split(re.split(r"[/?#]", rest, maxsplit=1)[0])
        # Whoever connects to an address that is none says so better.
        if not proxy or parts is None or is_loopback(parts.netloc.rpartition("@")[2]):
            return None
        host, port = parts.hostname or "", parts.port or _DEFAULT_PORTS[scheme.lower()]
        if any(_bypasses(entry, host, port) for entry in self.no_proxy):
            return None
        return _proxy_url(proxy, scheme)


def _proxy_url(text: str, scheme: str) -> str:
    url = text if "://" in text else f"http://{text}"
    kind, _, authority = url.partition("://")
    if kind.lower() not in _DEFAULT_PORTS or _split(authority.rstrip("/")) is None:
        raise ConfigError(f"{scheme.upper()}_PROXY is not an http:// or https:// address")
    return url


def _split(authority: str) -> SplitResult | None:
    try:
        parts = urlsplit(f"//{authority}")
        return parts if parts.hostname and parts.netloc == authority and parts.port != 0 else None
    except ValueError:
        return None


def _bypasses(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    address = _address(host)
    if "/" in entry:
        return address is not None and _is_within(address, entry)
    wanted = _split(_bracketed(entry))
    if wanted is None or wanted.port not in (None, port):
        return False
    domain = wanted.hostname or ""
    if address is not None:
        return address == _address(domain)
    name, domain = host.lower().rstrip("."), domain.removeprefix("*")
    return name.endswith(domain if domain.startswith(".") else f".{domain}") or name == domain


def _bracketed(entry: str) -> str:
    return f"[{entry}]" if entry.count(":") > 1 and not entry.startswith("[") else entry


def _is_within(address: ipaddress.IPv4Address | ipaddress.IPv6Address, block: str) -> bool:
    try:
        return address in ipaddress.ip_network(block, strict=False)
    except ValueError:
        return False


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
