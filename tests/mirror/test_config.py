"""The mirror file: what it means, and each error with its exact line."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmove.errors import ConfigError, LocalError
from imgmove.mirror.config import MirrorFile, Pattern, Pruning
from imgmove.mirror.meaning import parse_mirror_file, read_mirror_file
from imgmove.mirror.schema import json_schema
from imgmove.model.credentials import Credentials
from imgmove.model.location import LayoutLocation, RegistryLocation, RegistryPrefix, SshHost
from imgmove.model.platform import Platform

WHOLE = """\
version: 1
registries:
  registry.example.com: {username: bot, password_env: MIRROR_PW, plain_http: false, requests_per_second: 20,
                         max_connections: 8}
  docker.io: {username: "${HUB_USER}", password: "${MIRROR_PW}", ratelimit_floor: 10, ratelimit_action: wait}
defaults: {platforms: [linux/amd64, linux/arm64], referrers: true}
limit_rate: 20M
mirrors:
  - name: nginx
    source: docker.io/library/nginx
    destination: registry.example.com/library/nginx
    tags:
      include: ["1.*", stable]
      exclude: ["*-perl"]
      regex: '^v?\\d+\\.\\d+\\.\\d+$'
      semver: ">=1.25 <2"
      latest: 5
    prune: {enabled: true, max_delete: 20}
    keep_previous: "{tag}-prev-{date}"
  - source: quay.io/team/*
    destination: registry.example.com/team/
    platforms: []
    rename: [{tag: '^v', to: ''}]
  - source: alpine:3.20
    destination: ./out
"""
SECRETS = {"MIRROR_PW": "s3cret", "HUB_USER": "me"}


def parse(text: str, variables: Callable[[str], str | None] = SECRETS.get) -> MirrorFile:
    return parse_mirror_file(text.encode(), "mirror.yaml", variables)


def test_the_whole_form() -> None:
    file = parse(WHOLE)
    nginx, team, alpine = file.mirrors
    assert file.limit_rate == 20_000_000
    assert file.registries["registry.example.com"].options.credentials == Credentials("bot", "s3cret")
    assert file.registries["registry.example.com"].max_connections == 8
    hub = file.registries["docker.io"]
    assert hub.options.credentials == Credentials("me", "s3cret")
    assert (hub.ratelimit_floor, hub.waits_at_floor, hub.max_connections) == (10, True, 16)
    assert nginx.name == "nginx"
    assert isinstance(nginx.source, RegistryLocation)
    assert str(nginx.source.reference.name) == "docker.io/library/nginx"
    assert nginx.platforms == (Platform("linux", "amd64"), Platform("linux", "arm64"))
    assert nginx.prune == Pruning(20)
    assert nginx.selection.latest == 5
    assert team.source == Pattern("quay.io", "team/*")
    assert team.destination == RegistryPrefix("registry.example.com", "team")
    assert team.platforms == ()
    assert team.name == "quay.io/team/*"
    assert alpine.is_one_image
    assert alpine.destination == LayoutLocation(os.path.realpath("out"))


def test_patterns() -> None:
    assert Pattern("r.io", "team/*").fits("team/app")
    assert not Pattern("r.io", "team/*").fits("team/app/x")
    assert Pattern("r.io", "team/**").fits("team/app/x")
    assert Pattern("r.io", "*/app-?").fits("a/app-1")
    assert not Pattern("r.io", "team/a.p").fits("team/abp")
    assert [Pattern("r.io", glob).prefix for glob in ("team/*", "*", "a/b/c*", "a*/b")] == ["team", "", "a/b", ""]


def test_places_behind_another_host() -> None:
    file = parse(
        "version: 1\nmirrors:\n"
        "- {source: 'registry+ssh://ops@edge:2222/r.io:5000/team/*', destination: 'oci+ssh://edge/srv/out'}\n"
        "- {source: r.io/app, destination: 'registry+ssh://edge/localhost:5000/team/'}\n"
    )
    pattern, app = file.mirrors
    edge = SshHost("edge", "ops", 2222)
    assert pattern.source == Pattern("r.io:5000", "team/*", edge)
    assert str(pattern.source) == "registry+ssh://ops@edge:2222/r.io:5000/team/*"
    assert pattern.destination == LayoutLocation("/srv/out", carrier=SshHost("edge"))
    assert pattern.carriers == {edge, None}
    assert app.destination == RegistryPrefix("localhost:5000", "team", SshHost("edge"))
    assert app.carriers == {None, SshHost("edge")}


def test_a_folder_has_one_name_however_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    text = "".join(
        f"- {{name: '{number}', source: a, destination: '{place}'}}\n"
        for number, place in enumerate(("./out", "oci:out", f"{tmp_path}/out", "oci:link/x/../out"))
    )
    file = parse_mirror_file(f"version: 1\nmirrors:\n{text}".encode(), str(tmp_path / "mirror.yaml"), SECRETS.get)
    assert {str(mirror.destination) for mirror in file.mirrors} == {f"oci:{tmp_path}/out"}


def test_merging_and_anchors() -> None:
    file = parse(
        "version: 1\nx: 1\n".replace("x: 1\n", "")
        + "mirrors:\n- &a {source: a/b, destination: r.io/a/b}\n- {<<: *a, name: two}\n"
    )
    assert file.mirrors[1].destination == file.mirrors[0].destination


MIRROR = "  - source: docker.io/library/nginx\n    destination: r.example.com/nginx\n"
START = f"version: 1\nmirrors:\n{MIRROR}"

ERRORS = [
    # what, where, and a part of what is said
    ("", "mirror.yaml:1:1", "the file must be a mapping"),
    ("version: 1\n", "mirror.yaml:1:1", "the file lacks mirrors"),
    ("mirrors:\n  - {source: a, destination: b}\n", "mirror.yaml:1:1", "lacks version"),
    ("version: 2\nmirrors: []\n", "mirror.yaml:1:10", "version must be 1, not 2"),
    ("version: 1\nmirrors: []\n", "mirror.yaml:2:10", "mirrors must be a list of length >= 1"),
    ("version: 1\nmirrors: x\n", "mirror.yaml:2:10", "mirrors must be a list, not a text"),
    ("version: 1\nversion: 1\n", "mirror.yaml:2:1", "version is there twice"),
    ("version: 1\n1: x\n", "mirror.yaml:2:1", "a key must be a text"),
    ("version: 1\nmirrors:\n\t- x\n", "mirror.yaml:3:1", "not valid YAML"),
    ("version: [1\n", "mirror.yaml:2:1", "not valid YAML"),
    ("a: &x {<<: *x}\n", "mirror.yaml:1:8", "merged into one another too deeply"),
    (f"{START}miror: 1\n", "mirror.yaml:5:1", "unknown key 'miror' (did you mean mirrors?)"),
    (f"{START}    destinatoin: x\n", "mirror.yaml:5:5", "did you mean destination?"),
    (f"{START}    tags: {{includes: [x]}}\n", "mirror.yaml:5:12", "did you mean include?"),
    (
        f"{START}    tags:\n      latest: '5'\n",
        "mirror.yaml:6:15",
        "mirrors.tags.latest must be a whole number, not a text",
    ),
    (f"{START}    tags: {{latest: 0}}\n", "mirror.yaml:5:20", "must be a whole number >= 1"),
    (f"{START}    tags: {{include: [1.27]}}\n", "mirror.yaml:5:22", "must be a text, not a number (put it in quotes)"),
    (f"{START}    tags: {{include: x}}\n", "mirror.yaml:5:21", "must be a list, not a text"),
    (f"{START}    tags: {{regex: '('}}\n", "mirror.yaml:5:19", "not a regex"),
    (f"{START}    tags: {{semver: '>=new'}}\n", "mirror.yaml:5:20", "range"),
    (f"{START}    prune: {{max_delete: 5}}\n", "mirror.yaml:5:12", "lacks enabled"),
    (f"{START}    prune: {{enabled: 1}}\n", "mirror.yaml:5:22", "must be true or false, not a whole number"),
    (f"{START}    prune: {{enabled: true, max_delete: -1}}\n", "mirror.yaml:5:40", ">= 0"),
    (f"{START}    keep_previous: 'prev'\n", "mirror.yaml:5:20", "needs {tag}"),
    (f"{START}    keep_previous: '{{tag}}-{{day}}'\n", "mirror.yaml:5:20", "knows no {day}"),
    (f"{START}    keep_previous: '{{tag}}'\n", "mirror.yaml:5:20", "must differ from the tag"),
    (f"{START}    keep_previous: '{{tag}}/old'\n", "mirror.yaml:5:20", "not a tag"),
    (f"{START}defaults: {{keep_previous: old}}\n", "mirror.yaml:5:27", "needs {tag}"),
    (f"{START}defaults: {{tags: {{semver: new}}}}\n", "mirror.yaml:5:27", "range"),
    (f"{START}    rename: [{{repository: '(', to: x}}]\n", "mirror.yaml:5:14", "not a regex"),
    (f"{START}registries: [r.io]\n", "mirror.yaml:5:13", "must be a mapping, not a list"),
    (f"{START}registries:\n  r.io: 5\n", "mirror.yaml:6:9", "must be a mapping"),
    (f"{START}    platforms: [linux/amd64, 'x y']\n", "mirror.yaml:5:30", "platform"),
    (f"{START}    rename: [{{to: x}}]\n", "mirror.yaml:5:14", "either a tag or a repository"),
    (f"{START}    rename: [{{tag: '(', to: x}}]\n", "mirror.yaml:5:14", "not a regex"),
    (f"{START}    rename: [{{tag: a, to: '\\1'}}]\n", "mirror.yaml:5:14", "does not fit"),
    (f"{START}{MIRROR}", "mirror.yaml:5:13", "two mirrors are called docker.io/library/nginx"),
    (f"{START}limit_rate: fast\n", "mirror.yaml:5:13", "not a rate"),
    (f"{START}hooks: {{change: []}}\n", "mirror.yaml:5:17", "length >= 1"),
    (f"{START}hooks: {{change: [x], timeout: 0}}\n", "mirror.yaml:5:31", "> 0"),
    (f"{START}defaults: {{platform: [x]}}\n", "mirror.yaml:5:12", "did you mean platforms?"),
    (f"{START}defaults: {{platforms: ['x y']}}\n", "mirror.yaml:5:24", "platform"),
    (f"{START}registries: {{'no host!': {{}}}}\n", "mirror.yaml:5:14", "not a registry host"),
    (f"{START}registries:\n  r.io: {{user: x}}\n", "mirror.yaml:6:10", "did you mean username?"),
    (f"{START}registries:\n  a.io: {{}}\n  r.io: {{max_connections: 0}}\n", "mirror.yaml:7:27", ">= 1"),
    (f"{START}registries:\n  r.io: {{ratelimit_action: stop}}\n", "mirror.yaml:6:28", "wait or end"),
    (f"{START}registries:\n  r.io: {{username: a}}\n", "mirror.yaml:6:3", "lack password"),
    (
        f"{START}registries:\n  r.io: {{username: a, password_env: NOT_SET}}\n",
        "mirror.yaml:6:37",
        "'NOT_SET' is not set",
    ),
    (
        f"{START}registries:\n  r.io: {{username: a, password: '${{NOT_SET}}'}}\n",
        "mirror.yaml:6:33",
        "'NOT_SET' is not set",
    ),
    (f"{START}registries:\n  r.io: {{password: a, password_env: b}}\n", "mirror.yaml:6:37", "exclude one another"),
    (f"{START}registries:\n  r.io: {{ca_file: no.pem}}\n", "mirror.yaml:6:19", "no such file"),
    (f"{START}registries:\n  r.io: {{plain_http: true, tls_verify: false}}\n", "mirror.yaml:6:22", "no certificates"),
    (f"{START}registries:\n  docker.io: {{}}\n  index.docker.io: {{}}\n", "mirror.yaml:7:3", "twice"),
    ("version: 1\nmirrors:\n  - {source: a, destination: 'oci:x:name'}\n", "mirror.yaml:3:30", "keep their own names"),
    ("version: 1\nmirrors:\n  - {source: a, destination: ./x.tar}\n", "mirror.yaml:3:30", "can change"),
    ("version: 1\nmirrors:\n  - {source: a, destination: 'docker-daemon:'}\n", "mirror.yaml:3:30", "can change"),
    ("version: 1\nmirrors:\n  - {source: a, destination: 'r.io/a:1'}\n", "mirror.yaml:3:30", "leave the tag out"),
    ("version: 1\nmirrors:\n  - {source: 'r.io/a/*', destination: r.io/b}\n", "mirror.yaml:3:39", "write r.io/b/"),
    ("version: 1\nmirrors:\n  - {source: 'a b', destination: r.io/b}\n", "mirror.yaml:3:14", "not an image reference"),
    ("version: 1\nmirrors:\n  - {source: 'oci:x', destination: r.io/b}\n", "mirror.yaml:3:14", "a source is"),
    ("version: 1\nmirrors:\n  - {source: 'r.io/a:*', destination: r.io/b/}\n", "mirror.yaml:3:14", "not a pattern"),
    ("version: 1\nmirrors:\n  - {source: '${HOST}/a', destination: r.io/b}\n", "mirror.yaml:3:14", "credentials only"),
    ("version: 1\nmirrors:\n  - {source: 'oci+ssh://h/x/*', destination: r.io/b/}\n", "mirror.yaml:3:14", "host"),
    (
        "version: 1\nmirrors:\n  - {source: 'registry+ssh://a:b@h/r.io/*', destination: r.io/b/}\n",
        "mirror.yaml:3:14",
        "can't hold a password",
    ),
    ("version: 1\nmirrors:\n  - {source: a, destination: 'oci:x@sha256:0'}\n", "mirror.yaml:3:30", "sha256"),
    (
        "version: 1\nmirrors:\n  - {source: a, destination: 'r.io/a@sha256:%s'}\n" % ("0" * 64),
        "mirror.yaml:3:30",
        "a destination has no digest",
    ),
    (
        "version: 1\nmirrors:\n  - {source: 'a:1', destination: r.io/b, tags: {}}\n",
        "mirror.yaml:3:48",
        "names one image",
    ),
    (
        "version: 1\nmirrors:\n  - {source: 'a:1', destination: r.io/b, prune: {enabled: true}}\n",
        "mirror.yaml:3:49",
        "one image",
    ),
    ("version: 1\nmirrors:\n  - {destination: r.io/b}\n", "mirror.yaml:3:5", "mirrors lacks source"),
]


@pytest.mark.parametrize(("text", "place", "said"), ERRORS, ids=range(len(ERRORS)))
def test_each_error_names_its_place(text: str, place: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert str(caught.value).startswith(f"{place}: "), caught.value
    assert said in str(caught.value)


def test_bytes_that_are_no_text() -> None:
    with pytest.raises(ConfigError, match="mirror.yaml: not valid YAML"):
        parse_mirror_file(b"version: \xff\n", "mirror.yaml", SECRETS.get)


def test_aliases_that_grow_without_end() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    with pytest.raises(ConfigError, match="too many values"):
        parse("\n".join(lines))


def test_a_file_without_end(tmp_path: Path) -> None:
    path = tmp_path / "mirror.yaml"
    with path.open("wb") as file:
        file.truncate((16 << 20) + 1)
    with pytest.raises(ConfigError, match="larger than 16 MiB"):
        read_mirror_file(str(path), SECRETS.get)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(LocalError, match="can't read the mirror file /nowhere.yaml"):
        read_mirror_file("/nowhere.yaml", SECRETS.get)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_file_or_refused(content: bytes) -> None:
    with pytest.raises(ConfigError):
        parse_mirror_file(content, "mirror.yaml", SECRETS.get)


def test_the_schema_is_one_and_strict() -> None:
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert json.loads(json.dumps(schema)) == schema
    for name, form in schema["$defs"].items():
        assert form["additionalProperties"] is False, name


def test_the_example_of_the_readme() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    (text,) = re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL)
    file = parse(text, {"MIRROR_PASSWORD": "x"}.get)
    assert file.mirrors[0].selection.latest == 5
