"""``serve``."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from imgmove.cli.messages import Messages, write
from imgmove.cli.options import Reaching, Telling, make_settings
from imgmove.model.location_grammar import parse_location

if TYPE_CHECKING:
    from imgmove.server import Exchange


@dataclass(frozen=True)
class Guarding:
    """TLS and passwords."""

    tls_cert: Annotated[
        str, typer.Option(metavar="FILE", show_default=False, help="The certificate to show; else plain HTTP.")
    ] = ""
    tls_key: Annotated[
        str, typer.Option(metavar="FILE", show_default=False, help="Its key, if not in the same file.")
    ] = ""
    htpasswd: Annotated[
        str, typer.Option(metavar="FILE", show_default=False, help="Users and bcrypt hashes, as htpasswd -B writes.")
    ] = ""


def serve(
    places: Annotated[
        list[str], typer.Argument(metavar="LOCATION...", help="A layout, an archive, or a bundle; or its volumes.")
    ],
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where; port 0 takes a free one.")] = (
        "127.0.0.1:5000"
    ),
    writable: Annotated[
        bool, typer.Option("--writable", help="Images can be pushed to the layout, which is made if missing.")
    ] = False,
    *,
    guarding: Guarding,
    running: Reaching,
    output: Telling,
) -> None:
    """Be a registry over a layout, archive or bundle as it is.

    Prints the address and answers until SIGINT or SIGTERM. Names in a layout are REPO:TAG; full names are served
    without their host, a bare tag under the folder's or file's own name. -v logs each request.
    """
    locations = [parse_location(place) for place in places]
    from imgmove.api.bundles import serve as serving_at
    from imgmove.cli.session import make_messages
    from imgmove.stages.serve import ServeOptions
    from imgmove.stages.session import Session

    options = ServeOptions(listen, writable, guarding.tls_cert, guarding.tls_key, guarding.htpasswd)
    messages = make_messages(output)
    with (
        _ended_by_signal() as ended,
        Session(make_settings(running)) as session,
        serving_at(locations, options, log=_AccessLog(messages), session=session) as serving,
    ):
        if serving.is_exposed:
            messages.note("every machine that reaches this one can read from it; --htpasswd asks for a password")
        for fault in serving.faults:
            messages.note(fault)
        write(sys.stdout, serving.url)
        ended.wait()


class _AccessLog:
    def __init__(self, messages: Messages) -> None:
        self._messages = messages

    def __call__(self, exchange: Exchange, /) -> None:
        path = f"{exchange.path}?{exchange.query}" if exchange.query else exchange.path
        self._messages.detail(
            f"{exchange.client} {exchange.method} {path} {exchange.status} "
            f"{exchange.received} in {exchange.sent} out {exchange.seconds:.3f} s"
        )


@contextmanager
def _ended_by_signal() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set; to be asked to end is no failure of a server."""
    ended = threading.Event()

    def end(number: int, _: FrameType | None) -> None:  # noqa: ARG001 - as the signal module calls it
        ended.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
