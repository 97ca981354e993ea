from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imgmove.errors import ConfigError
from imgmove.settings.registries_file import Registries, read_registries, read_registries_file
from tests.settings.conftest import FIXTURES, Machine

CONFIG = FIXTURES / "config"
DIGEST = "sha256:" + "0" * 64


def tables(path: Path) -> Registries:
    return Registries(tuple(read_registries_file(str(path)).values()))


def parse(machine: Machine, text: str) -> Registries:
    return tables(machine.write("registries.conf", text))


def places(registries: Registries, name: str, *, tag: str = "", digest: str = "") -> list[str]:
    host, _, repository = name.partition("/")
    registry = registries.choose(host, repository, tag=tag, digest=digest)
    if registry is None:
        return [name]
    found = registry.places_for(host, repository, is_digest=bool(digest))
    return [f"{place.host}/{place.repository}" + (" insecure" if place.insecure else "") for place in found]


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("simple-prefix.com/foo/bar", "simple-prefix.com"),
        ("simple-prefix.comx/foo", None),
        ("simple-prefix.com:5000/foo", "*.com"),
        ("complex-prefix.com:4000/with/path/and/beyond", "complex-prefix.com:4000/with/path"),
        ("complex-prefix.com:4000/with/pathology", "*.com"),
        ("no-prefix.com/foo", "no-prefix.com"),
        ("empty-prefix.com/foo", "empty-prefix.com"),
        ("not.so.simple-prefix.com/foo", "*.so.simple-prefix.com"),
        ("not.quite.simple-prefix.com/foo", "*.simple-prefix.com"),
        ("really.not.quite.simple-prefix.com:5000/foo", "*.not.quite.simple-prefix.com"),
        ("foo.bar.example.com:5000/image", "foo.bar.example.com:5000"),
        ("foo.bar.example.com:5001/image", "*.bar.example.com"),
        ("foo.bar.docker.io/image", "*.bar.docker.io"),
        ("foo.foobar.io/image", "*.foobar.io"),
        ("foobar.io/image", None),
        ("example.org/image.com", None),
        ("com/image", None),
    ],
)
def test_the_longest_prefix_wins(name: str, prefix: str | None) -> None:
    host, _, repository = name.partition("/")
    registry = tables(CONFIG / "registries-find-registry.conf").choose(host, repository)
    assert (registry.prefix if registry else None) == prefix


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("simple-prefix.com/foo", "registry.com:5000/foo"),
        ("complex-prefix.com:4000/with/path/app", "another-registry.com:5000/app"),
        ("no-prefix.com/foo", "no-prefix.com/foo"),
        ("a.so.simple-prefix.com/foo", "subdomain-prefix.com/foo"),
        ("a.so.simple-prefix.com:8443/foo", "subdomain-prefix.com:8443/foo"),
        ("a.internal.registry.com:8443/foo", "a.internal.registry.com:8443/foo"),
        ("unknown.org/foo", "unknown.org/foo"),
    ],
)
def test_a_location_takes_the_place_of_the_prefix(name: str, place: str) -> None:
    assert places(tables(CONFIG / "registries-find-registry.conf"), name) == [place]


def test_mirrors_come_first() -> None:
    registries = tables(CONFIG / "registries-mirrors.conf")
    own = ["mirror-1.registry.com/image", "mirror-2.registry.com/image insecure", "registry.com/image"]
    assert places(registries, "registry.com/image") == own
    blocked = registries.choose("blocked.registry.com", "image")
    assert blocked is not None
    assert blocked.blocked


def test_conflicts_are_an_error() -> None:
    with pytest.raises(ConfigError, match=r"registries-blocked-conflicts\.conf: .* conflicting .* for registry\.com"):
        tables(CONFIG / "registries-blocked-conflicts.conf")


def test_saying_the_same_twice_is_none(machine: Machine) -> None:
    twice = '[[registry]]\nlocation = "example.org"\ninsecure = true\n' * 2
    assert places(parse(machine, twice), "example.org/app") == ["example.org/app insecure"]


def test_mirrors_for_digests_or_tags_alone(machine: Machine) -> None:
    registries = parse(
        machine,
        """
        [[registry]]
        location = "example.org"
        [[registry.mirror]]
        location = "digests.org"
        pull-from-mirror = "digest-only"
        [[registry.mirror]]
        location = "tags.org"
        pull-from-mirror = "tag-only"
        [[registry.mirror]]
        location = "both.org/proxy/"
        pull-from-mirror = "all"
        [[registry]]
        location = "strict.org"
        mirror-by-digest-only = true
        [[registry.mirror]]
        location = "copy.org"
        """,
    )
    assert places(registries, "example.org/app") == ["tags.org/app", "both.org/proxy/app", "example.org/app"]
    assert places(registries, "example.org/app", tag="1", digest=DIGEST) == [
        "digests.org/app",
        "both.org/proxy/app",
        "example.org/app",
    ]
    assert places(registries, "strict.org/app", tag="1") == ["strict.org/app"]
    assert places(registries, "strict.org/app", digest=DIGEST) == ["copy.org/app", "strict.org/app"]


def test_prefixes_of_single_images(machine: Machine) -> None:
    text = '[[registry]]\nprefix = "{}"\nlocation = "other.org/copy"\n'
    tagged = parse(machine, text.format("example.org/app:1"))
    assert places(tagged, "example.org/app", tag="1") == ["other.org/copy"]
    assert places(tagged, "example.org/app", tag="1", digest=DIGEST) == ["other.org/copy"]
    assert places(tagged, "example.org/app", tag="10") == ["example.org/app"]
    assert places(tagged, "example.org/app") == ["example.org/app"]
    digested = parse(machine, text.format(f"example.org/app@{DIGEST}"))
    assert places(digested, "example.org/app", digest=DIGEST) == ["other.org/copy"]
    whole = parse(machine, text.format("example.org/app"))
    assert places(whole, "example.org/app", tag="1") == ["other.org/copy"]
    assert places(whole, "example.org/app/below", tag="1") == ["other.org/copy/below"]


def test_docker_hub_has_its_short_names_there_too(machine: Machine) -> None:
    registries = parse(machine, '[[registry]]\nprefix = "example.org/hub"\nlocation = "docker.io"\n')
    assert places(registries, "example.org/hub/alpine") == ["docker.io/library/alpine"]
    assert places(registries, "example.org/hub/team/app") == ["docker.io/team/app"]


def test_a_location_that_leaves_no_repository(machine: Machine) -> None:
    registries = parse(machine, '[[registry]]\nprefix = "example.org/app"\nlocation = "other.org"\n')
    with pytest.raises(ConfigError, match="the location 'other.org' makes no repository of example.org/app"):
        places(registries, "example.org/app")


def test_the_old_version(machine: Machine) -> None:
    registries = parse(
        machine,
        """
        [registries.search]
        registries = ["search.org"]
        [registries.insecure]
        registries = ["insecure.org"]
        [registries.block]
        registries = ["blocked.org", "insecure.org/bad"]
        """,
    )
    assert places(registries, "insecure.org/app") == ["insecure.org/app insecure"]
    chosen = [
        registries.choose(*name.split("/", 1)) for name in ("blocked.org/x", "insecure.org/bad/x", "search.org/x")
    ]
    assert [registry and registry.blocked for registry in chosen] == [True, True, None]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[registry", "is not TOML"),
        ("x = '\\udc80'\n[[registry]]\nlocation=1", "location must be a text"),
        ("registry = 1", "registry must be a list of tables"),
        ("registry = [1]", "registry must be a list of tables"),
        ("[[registry]]", "neither a prefix nor a location"),
        ("[[registry]]\nprefix = 'example.org'", "has no location"),
        ("[[registry]]\nlocation = 'http://example.org'", "is not HOST"),
        ("[[registry]]\nlocation = 'example.org:1/app:tag'", "is not HOST"),
        ("[[registry]]\nlocation = 'a.org'\nprefix = 'example.*.com'", "not a prefix"),
        ("[[registry]]\nlocation = 'a.org'\nprefix = '*.example.com/foo'", "not a prefix"),
        ("[[registry]]\nlocation = 'a.org'\ninsecure = 'yes'", "insecure must be true or false"),
        ("[[registry]]\nlocation = 'a.org'\nblocked = 1", "blocked must be true or false"),
        ("[[registry]]\nlocation = 'a.org'\nmirror = 'b.org'", "mirror must be a list of tables"),
        ("[[registry]]\nlocation = 'a.org'\n[[registry.mirror]]", "mirror without a location"),
        (
            "[[registry]]\nlocation = 'a.org'\n[[registry.mirror]]\nlocation = 'b.org'\npull-from-mirror = 'never'",
            "pull-from-mirror must be one of all, digest-only, tag-only",
        ),
        (
            "[[registry]]\nlocation = 'a.org'\nmirror-by-digest-only = true\nmirror = [{location = 'b.org', pull-from-mirror = 'all'}]",
            "both mirror-by-digest-only and pull-from-mirror",
        ),
        ("[[registry]]\nlocation = 'a.org'\n[registries.block]\nregistries = []", "mixes versions 1 and 2"),
        ("registries = 1", "must be a list of registries"),
        ("[registries.block]\nregistries = 'a.org'", "must be a list of registries"),
        ("[registries.insecure]\nregistries = [1]", "must be a list of registries"),
    ],
)
def test_files_that_are_wrong(machine: Machine, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse(machine, text)
    assert str(machine.folder / "registries.conf") in str(caught.value)


_VALUE = st.sampled_from(
    ["''", "'*.a.org'", "'a.org/b'", "'a.org/b:c'", "'/'", "1", "true", "[]", "{}", "[{}]", "'all'"]
)
_KEYS = ["prefix", "location", "insecure", "blocked", "mirror", "mirror-by-digest-only", "pull-from-mirror"]
_TABLE = st.dictionaries(st.sampled_from(_KEYS), _VALUE).map(lambda table: [f"{k} = {v}" for k, v in table.items()])
_HEADER = st.sampled_from(["[[registry]]", "[[registry.mirror]]", "[registries.block]", "[registry]"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(_HEADER, _TABLE), max_size=4))
def test_hostile_files_are_understood_or_refused(machine: Machine, document: list[tuple[str, list[str]]]) -> None:
    text = "\n".join("\n".join([header, *lines]) for header, lines in document)
    try:
        found = places(parse(machine, text), "x.a.org/b/c", tag="1")
    except ConfigError:
        return
    assert all("/" in place for place in found)


class TestWhichFiles:
    TABLE = '[[registry]]\nprefix = "example.org"\nlocation = "{}"\n'
    SYSTEM = "system/etc/containers/registries.conf"
    USER = "home/.config/containers/registries.conf"

    def place(self, machine: Machine, **variables: str) -> str:
        return places(read_registries(machine.environment(**variables)), "example.org/app")[0]

    def test_none(self, machine: Machine) -> None:
        assert read_registries(machine.environment()) == Registries()

    def test_the_users_file_stands_in_for_the_systems_and_its_drop_ins(self, machine: Machine) -> None:
        machine.write(self.SYSTEM, self.TABLE.format("system.org"))
        assert self.place(machine) == "system.org/app"
        machine.write(f"{self.SYSTEM}.d/10.conf", self.TABLE.format("ten.org"))
        machine.write(f"{self.SYSTEM}.d/20.conf", self.TABLE.format("twenty.org"))
        machine.write(f"{self.SYSTEM}.d/30.txt", "[[registry")
        assert self.place(machine) == "twenty.org/app"
        machine.write(f"{self.USER}.d/05.conf", self.TABLE.format("mine.org"))
        assert self.place(machine) == "mine.org/app"
        machine.write(self.USER, self.TABLE.format("user.org"))
        assert self.place(machine) == "mine.org/app"
        shutil.rmtree(machine.folder / f"{self.USER}.d")
        assert self.place(machine) == "user.org/app"

    def test_a_named_file(self, machine: Machine) -> None:
        machine.write(self.USER, self.TABLE.format("user.org"))
        named = str(machine.write("named.conf", self.TABLE.format("named.org")))
        assert self.place(machine, CONTAINERS_REGISTRIES_CONF=named) == "named.org/app"

    def test_a_named_file_that_is_missing(self, machine: Machine) -> None:
        with pytest.raises(ConfigError, match="CONTAINERS_REGISTRIES_CONF names /no/such/file"):
            self.place(machine, CONTAINERS_REGISTRIES_CONF="/no/such/file")
