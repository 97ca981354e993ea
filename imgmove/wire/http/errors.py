"""What goes wrong in HTTP, as errors of ours with one readable line."""

from __future__ import annotations

import contextlib
import email.utils
import json
import re
import socket
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from imgmove.errors import AccessDenied, ImgmoveError, NetworkError, NotFound, ServerError, ServerRefused, Throttled

if TYPE_CHECKING:
    from imgmove.wire.http.client import Response

_TRANSIENT = frozenset({408, 425, 499})
_LASTING = frozenset({501, 505})
"""Those 5xx that say what the server can't do, and will not be able to do the next time."""
_HINTS = {
    405: "it may be for reading only, such as a mirror",
    413: "a proxy in front of it limits the size of requests",
}
WITH_TLS = "add --no-src-plain-http or --no-dest-plain-http"
"""What to do where plain HTTP was spoken because that is the rule for loopback addresses, or somebody asked for it."""

_WANTS_TLS = re.compile(rb"HTTP request (?:to an|was sent to) HTTPS", re.IGNORECASE)
"""What servers for TLS say to those who come without: those in Go, and nginx."""

_NO_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3}) ?([\w -]*)")

_LONGEST_MESSAGE = 300
_LARGEST_BODY = 64 << 10
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


def check_status(response: Response, *expected: int, what: str = "") -> Response:
    """Returns the response when its status is one of those expected.

    Raises:
        ImgmoveError: of the class that the status stands for; the response is closed.
    """
    if response.status in expected:
        return response
    raise error_of(response, what)


def error_of(response: Response, what: str = "") -> ImgmoveError:
    """The error that an answer stands for; reads and closes it.

    Args:
        what: what was asked for, to begin the message with.
    """
    content = _beginning(response)
    code, message = _registry_error(content)
    host = urlsplit(response.url).netloc.rpartition("@")[2]
    if response.status == 400 and response.url.startswith("http:") and _WANTS_TLS.search(content):
        return ServerRefused(f"{host} speaks TLS, not plain HTTP", status=400, hint=WITH_TLS)
    said = message or f"status {response.status}"
    text = f"{what}: {host} says: {said}" if what else f"{host} says: {said}"
    if response.status == 404:
        return NotFound(text)
    if response.status in (401, 403, 407):
        return AccessDenied(text) if response.status != 407 else _locked_proxy(f"the proxy on the way to {host}")
    delay = retry_after(response.headers)
    if response.status == 429:
        return Throttled(text, delay=delay)
    if response.status in _TRANSIENT or (response.status >= 500 and response.status not in _LASTING):
        return ServerError(text, delay=delay)
    return ServerRefused(text, status=response.status, code=code, hint=_HINTS.get(response.status, ""))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from either form of ``Retry-After`` (RFC 9110, section 10.2.3)."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit() and len(text) < 9:
        return float(text)
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    return None


def shown(url: str) -> str:
    """A URL for messages: host and path alone, as queries and user parts may hold secrets."""
    parts = urlsplit(url)
    return printable(f"{parts.netloc.rpartition('@')[2]}{parts.path}")


def printable(text: str) -> str:
    """Text from a server without anything that a terminal would obey, and not too long."""
    clean = _CONTROL.sub(" ", text).strip()
    return clean if len(clean) <= _LONGEST_MESSAGE else f"{clean[:_LONGEST_MESSAGE]}…"


@contextlib.contextmanager
def translated(url: str) -> Iterator[None]:
    """Turns whatever requests and the libraries below it raise into a `NetworkError`."""
    import requests
    import urllib3

    try:
        yield
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise _explained(error, url) from error


def _explained(error: BaseException, url: str) -> ImgmoveError:
    import requests
    import urllib3

    host = urlsplit(url).netloc.rpartition("@")[2]
    chain = list(_causes(error))
    through_proxy = any(isinstance(cause, urllib3.exceptions.ProxyError) for cause in chain)
    if through_proxy:  # then what refused, or has no name, is the proxy
        host = f"the proxy on the way to {host}"
    if (known := next(filter(None, (_known(cause, host) for cause in chain)), None)) is not None:
        return known
    if through_proxy:
        return _refused_by_proxy(chain, host)
    if any(isinstance(cause, requests.Timeout | urllib3.exceptions.TimeoutError | TimeoutError) for cause in chain):
        return NetworkError(f"{host} did not answer in time")
    if isinstance(error, requests.exceptions.InvalidHeader):
        return ServerRefused(f"{host} answers with headers that make no sense")
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema | ValueError):
        return ServerRefused(f"not an address that can be asked: {shown(url)}")
    reason = next((cause.strerror for cause in chain if isinstance(cause, OSError) and cause.strerror), "")
    return ConnectionBroke(f"the connection to {host} broke" + (f": {printable(reason)}" if reason else ""))


def _known(cause: BaseException, host: str) -> ImgmoveError | None:
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _untrusted(cause, host)
    if isinstance(cause, ssl.SSLError):
        return _unknown_client(cause, host) or _no_tls(cause, host)
    if isinstance(cause, socket.gaierror):
        if cause.errno == socket.EAI_AGAIN:
            return NetworkError(f"the name {host} can't be looked up at the moment")
        return NoSuchHost(f"no such host: {host}")
    return NetworkError(f"{host} refused the connection") if isinstance(cause, ConnectionRefusedError) else None


def _refused_by_proxy(chain: Sequence[BaseException], host: str) -> ImgmoveError:
    """The standard library tells only in words what a proxy answered instead of making a tunnel."""
    answer = next(filter(None, (_NO_TUNNEL.search(str(cause)) for cause in chain)), None)
    if answer is None:
        return NetworkError(f"{host} failed")
    if answer[1] == "407":
        return _locked_proxy(host)
    said = f"{host} says: {printable(f'status {answer[1]} {answer[2]}')}"
    return AccessDenied(said) if answer[1] in ("401", "403") else NetworkError(said)


def _locked_proxy(proxy: str) -> AccessDenied:
    hint = "write them into its address, as http://USER:PASSWORD@HOST:PORT"
    return AccessDenied(f"{proxy} wants a user name and password, or other ones", hint=hint)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and everything that is wrapped in it; requests keeps causes in ``args``, urllib3 in ``reason``."""
    seen: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting and len(seen) < 20:
        item = waiting.pop(0)
        if isinstance(item, BaseException) and item not in seen:
            seen.append(item)
            waiting += [item.__cause__, item.__context__, getattr(item, "reason", None), *item.args]
            yield item


def _untrusted(error: ssl.SSLCertVerificationError, host: str) -> AccessDenied:
    reason = printable(error.verify_message or str(error))
    return AccessDenied(
        f"the certificate of {host} is not trusted: {reason}",
        hint="name its authority with --src-ca or --dest-ca, or put it in certs.d",
    )


def _unknown_client(error: ssl.SSLError, host: str) -> AccessDenied | None:
    """The server's own word (an alert) that it does not take our certificate, or misses one."""
    reason = error.reason or ""
    if "_ALERT_" not in reason or ("CERTIFICATE" not in reason and "UNKNOWN_CA" not in reason):
        return None
    return AccessDenied(
        f"{host} wants to see another client certificate, or one at all ({printable(reason)})",
        hint=f"put NAME.cert and NAME.key in certs.d/{host}",
    )


def _no_tls(error: ssl.SSLError, host: str) -> NetworkError:
    text = str(error).upper()
    if "WRONG_VERSION_NUMBER" in text or "RECORD_LAYER_FAILURE" in text or "HTTP_REQUEST" in text:
        return NotTls(f"{host} does not speak TLS", hint="add --src-plain-http or --dest-plain-http if it is HTTP")
    return NetworkError(f"TLS with {host} failed: {printable(error.reason or 'no reason given')}")


class ConnectionBroke(NetworkError):
    """It was closed or reset in the middle of something."""


class NoSuchHost(NetworkError):
    """The name leads nowhere; trying again changes nothing as a rule."""

    is_transient = False


class NotTls(NetworkError):
    """The server speaks something else than TLS; trying again changes nothing."""

    is_transient = False


def _beginning(response: Response) -> bytes:
    """What an answer says, as far as it is read; closes it."""
    try:
        return response.read(_LARGEST_BODY)
    except ImgmoveError:
        return b""
    finally:
        response.close()


def _registry_error(content: bytes) -> tuple[str, str]:
    """Code and message of the first error in a body that says something (OCI distribution spec, *Error Codes*)."""
    with contextlib.suppress(ValueError, RecursionError, AttributeError, LookupError, TypeError):
        errors = json.loads(content)["errors"]
        first = next((error for error in errors if error.get("code") != "UNKNOWN"), errors[0])
        code, message = str(first.get("code") or ""), str(first.get("message") or "")
        detail = first.get("detail")
        extra = f" ({detail})" if isinstance(detail, str) and detail else ""
        return code, printable(f"{message or code}{extra}")
    return "", ""
