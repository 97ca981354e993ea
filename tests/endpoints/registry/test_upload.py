"""Uploads that break, get lost or are refused: on from where they are, or once more in another way."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

import imgmove
from imgmove.endpoints.layout import Layout
from imgmove.endpoints.registry.registries import Registries
from imgmove.endpoints.registry.upload import BlobUpload
from imgmove.engine.run import RetryPolicy
from imgmove.errors import ImgmoveError, NetworkError, ServerRefused
from imgmove.model.credentials import Credentials
from imgmove.model.reference import Reference
from imgmove.settings import Settings, SideOptions
from imgmove.streams import BytesReader
from imgmove.wire.files import LocalFiles
from tests.images import build_image
from tests.quirks import Drop, Failure, Quirks, RegistryServer, TokenAuth
from tests.real.fault_proxy import Fault, FaultProxy

IMAGE = build_image([{"big": random.Random(8).randbytes(3 << 20)}], compression="none")
LAYER = IMAGE.nodes[0].children[1]
Factory = Callable[..., RegistryServer]
BREAKS = Drop("PUT upload", 1 << 20, 1, "upload")
LATER = Drop("PATCH upload", 1 << 20, 1, "upload")
ALICE = SideOptions(Credentials("alice", "s3cret"))


@pytest.fixture
def layout(tmp_path: Path) -> str:
    IMAGE.put(Layout.writable(LocalFiles(), str(tmp_path / "in")), "app:1")
    return f"oci:{tmp_path / 'in'}:app:1"


@pytest.fixture
def push(
    settings: Settings, layout: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[[RegistryServer, int], ImgmoveError | None]:
    """Copies the layout into a registry with some retries that do not wait."""
    monkeypatch.setattr(RetryPolicy, "delay", lambda *_: 0.0)

    def copy(server: RegistryServer, retries: int) -> ImgmoveError | None:
        chosen = replace(settings, retries=retries, jobs=1, destination=ALICE)
        with imgmove.Session(chosen) as session:
            return imgmove.copy(layout, f"{server.host}/app:1", session=session).images[0].error

    return copy


Push = Callable[[RegistryServer, int], ImgmoveError | None]


def came(server: RegistryServer) -> bool:
    return server.content("app", LAYER) == IMAGE.blobs[LAYER.digest]


LESSONS = {
    "pieces refused": Quirks(drops=(BREAKS,), chunks="refused"),
    "one piece only": Quirks(drops=(BREAKS, LATER), chunks="one"),
    "range sticks": Quirks(drops=(BREAKS, LATER), stuck_range=True),
    "upload forgotten": Quirks(drops=(BREAKS,), failures=(Failure("GET upload", 404),)),
    "upload forgotten at its next piece": Quirks(drops=(BREAKS,), failures=(Failure("PATCH upload", 404),)),
    "upload forgotten at its end": Quirks(failures=(Failure("PUT upload", 404),)),
    "another place": Quirks(drops=(BREAKS,), failures=(Failure("PATCH upload", 416),)),
    "asking fails": Quirks(drops=(BREAKS,), failures=(Failure("GET upload", 503),)),
    "put fails at once": Quirks(failures=(Failure("PUT upload", 500, reads_body=False),)),
    "put fails with its body": Quirks(failures=(Failure("PUT upload", 502),)),
    "post fails": Quirks(failures=(Failure("POST upload", 429, 2, "0"),)),
    "timeouts": Quirks(failures=(Failure("PUT upload", 408), Failure("HEAD blob", 522), Failure("PUT manifest", 520))),
}


@pytest.mark.parametrize("name", LESSONS)
def test_all_comes_in_the_end(name: str, push: Push, registry_factory: Factory) -> None:
    server = registry_factory(LESSONS[name])
    assert push(server, 3) is None
    assert came(server)


@pytest.mark.parametrize(
    "quirks",
    [Quirks(largest_request=600_000), Quirks(token=TokenAuth(uses=5)), Quirks()],
    ids=["smaller requests", "new tokens", "nothing"],
)
def test_learning_needs_no_retries(quirks: Quirks, push: Push, registry_factory: Factory) -> None:
    server = registry_factory(quirks)
    assert push(server, 0) is None
    assert came(server)


def test_no_retries_are_none(push: Push, registry_factory: Factory) -> None:
    server = registry_factory(Quirks(failures=(Failure("PUT upload", 503, 9),)))
    assert isinstance(push(server, 0), NetworkError)
    assert server.count("PUT upload") == 1


@pytest.mark.parametrize("kind", ["POST upload", "PUT upload", "PUT manifest"])
@pytest.mark.parametrize("status", [400, 405, 409, 501])
def test_what_will_not_change_is_asked_once(status: int, kind: str, push: Push, registry_factory: Factory) -> None:
    server = registry_factory(Quirks(failures=(Failure(kind, status, 9),)))
    error = push(server, 3)
    assert isinstance(error, ServerRefused)
    assert error.side == "destination"
    assert server.count(kind) == 1


def test_an_answer_that_got_lost_costs_no_second_upload(settings: Settings, registry: RegistryServer) -> None:
    with closing(Registries(settings)) as registries:
        writer = registries.destination(Reference.parse(f"{registry.host}/app")).put_blob(LAYER)
        assert isinstance(writer, BlobUpload)
        writer.resume()
        writer.write(BytesReader(IMAGE.blobs[LAYER.digest]))
        writer._is_done, writer._session._location = False, "/v2/app/blobs/uploads/finished"
        assert writer.resume() == LAYER.size
        writer.write(BytesReader(b""))
        writer.commit(LAYER)
    assert registry.count("POST upload") == registry.count("PUT upload") == 1


def test_a_registry_whose_every_connection_breaks(
    registry: RegistryServer, layout: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The server needs a moment to notice that a connection broke.
    monkeypatch.setattr(RetryPolicy, "delay", lambda *_: 0.5)
    with FaultProxy(registry.host, Fault("reset", 1 << 20, "up")) as proxy:
        with imgmove.Session(replace(settings, retries=4, jobs=1)) as session:
            imgmove.copy(layout, f"{proxy.host}/app:1", session=session).raise_failures()
        assert proxy.happened >= 2
        assert proxy.up <= 1.1 * LAYER.size
    assert came(registry)


def test_an_absent_blob_costs_three_requests(push: Push, registry_factory: Factory) -> None:
    server = registry_factory()
    assert push(server, 3) is None
    blobs = len(IMAGE.blobs)
    assert [server.count(f"{kind}") for kind in ("HEAD blob", "* upload")] == [blobs, 2 * blobs]
