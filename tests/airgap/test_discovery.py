"""Images in what describes deployments."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgmove.airgap.discovery import Discovery, discover
from imgmove.airgap.jsonpath import JsonPath
from imgmove.errors import LocalError, UsageError
from tests.airgap.conftest import Connected, Run

KUBERNETES = """
apiVersion: apps/v1
kind: Deployment
spec:
  template:
    spec:
      initContainers:
      - {name: wait, image: "busybox:1.36"}
      containers:
      - name: web
        image: registry.example.com/team/web:1.20
      ephemeralContainers:
      - image: registry.example.com/debug@sha256:%s
      volumes:
      - rbd: {image: a-disk}
---
apiVersion: batch/v1
kind: CronJob
spec: {jobTemplate: {spec: {template: {spec: {containers: [{image: 'quay.io/ops/job:2'}]}}}}}
---
kind: ConfigMap
data:
  inner.yaml: |
    containers:
    - image: hidden:1
---
kind: Prometheus
spec:
  baseImage: quay.io/prometheus/prometheus
  sidecars: [{container: reg.example.com/side:3}, {container: reg.example.com/side:4}]
""" % ("a" * 64)

COMPOSE = """
services:
  web: {image: "nginx:1.27"}
  own: {build: ./own}
  late: {image: "app:${VERSION}"}
"""

HELM = """
image: {registry: quay.io, repository: team/chart, tag: 1.10}
metrics:
  image:
    repository: team/metrics
    tag: ""
    digest: sha256:%s
proxy:
  image: {repository: team/proxy, tag: ""}
git: {repository: "https://example.com/x.git", tag: v1}
""" % ("b" * 64)

TEMPLATE = """
{{- if .Values.enabled }}
      - image: "{{ .Values.image.repository }}:{{ .Values.image.tag }}"
      - image: "plain:7"
{{- end }}
"""


def found_in(tmp_path: Path, text: str, *json_paths: str) -> Discovery:
    (tmp_path / "file.yaml").write_text(text)
    return discover([str(tmp_path)], [JsonPath.parse(path) for path in json_paths])


def test_kubernetes(tmp_path: Path) -> None:
    discovery = found_in(tmp_path, KUBERNETES, "Prometheus=$.spec.sidecars[*].container")
    assert discovery.references == [
        "docker.io/library/busybox:1.36",
        "registry.example.com/team/web:1.20",
        f"registry.example.com/debug@sha256:{'a' * 64}",
        "quay.io/ops/job:2",
        "reg.example.com/side:3",
        "reg.example.com/side:4",
    ]
    assert discovery.found[1].where == f"{tmp_path}/file.yaml:11 spec.template.spec.containers[0].image"
    assert [(item.text, item.reason) for item in discovery.undecided] == [
        ("hidden:1", "it stands in a text"),
        ("quay.io/prometheus/prometheus", "its key only sounds like an image"),
    ]


def test_compose(tmp_path: Path) -> None:
    discovery = found_in(tmp_path, COMPOSE)
    assert discovery.references == ["docker.io/library/nginx:1.27"]
    assert [item.text for item in discovery.undecided] == ["build", "app:${VERSION}"]


def test_helm_values(tmp_path: Path) -> None:
    discovery = found_in(tmp_path, HELM)
    assert discovery.references == ["quay.io/team/chart:1.10", f"docker.io/team/metrics@sha256:{'b' * 64}"]
    assert [item.text for item in discovery.undecided] == ["team/proxy"]


def test_templates_that_are_no_yaml(tmp_path: Path) -> None:
    discovery = found_in(tmp_path, TEMPLATE)
    assert discovery.references == ["docker.io/library/plain:7"]
    assert "helm template" in discovery.undecided[0].reason


def test_json_and_odd_documents(tmp_path: Path) -> None:
    assert found_in(tmp_path, '{"image": "a:1", "list": [{"image": "b:2"}]}').references == [
        "docker.io/library/a:1",
        "docker.io/library/b:2",
    ]
    odd = 'image: [1, 2]\n---\nimage: null\n---\n? [a, b]\n: image\n---\n!Ref x\n---\nimage: "Not A Name"\n'
    discovery = found_in(tmp_path, odd)
    assert discovery.found == []
    assert [item.text for item in discovery.undecided] == ["Not A Name"]


def test_hostile_documents(tmp_path: Path) -> None:
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    for text in (bomb, "[" * 5000, "x: *x", "a: 'b"):
        discovery = found_in(tmp_path, text)
        assert discovery.found == []
        assert len(discovery.undecided) == 1
        with pytest.raises(UsageError):
            discover([str(tmp_path / "file.yaml")])


def test_images_that_operators_learn_from_variables(tmp_path: Path) -> None:
    text = "env: [{name: RELATED_IMAGE_PROXY, value: 'quay.io/a/proxy:1'}, {name: IMAGE_POLICY, value: Always}]"
    discovery = found_in(tmp_path, text)
    assert discovery.found == []
    assert [(item.text, item.where.split()[-1]) for item in discovery.undecided] == [
        ("quay.io/a/proxy:1", "env[0].value")
    ]


def test_files_that_are_too_large_to_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are looked through before anything is built, which takes hundreds of times their size in memory."""
    many = f"---\nimage: reg.example.com/a:1\nx: [{', '.join('x' * 1_000)}]\n" * 160
    assert len(found_in(tmp_path, many).references) == 1, "documents are counted each for itself"

    def built(*_: object, **__: object) -> None:
        pytest.fail("it was built")

    monkeypatch.setattr("yaml.compose_all", built)
    for text in ("- a\n" * 160_000, "[" * 160_000, "? - " * 40_000, "- {" * 60_000, "a: !<x> b\n" * 80_000):
        discovery = found_in(tmp_path, text)
        assert discovery.found == []
        assert len(discovery.undecided) == 1


def test_json_paths() -> None:
    for text in ("spec.image", "$.a[?(@.x)]", "=$.a", "$.a[", "$..", ""):
        with pytest.raises(UsageError):
            JsonPath.parse(text)
    document = {"a": [{"b": {"c": []}}, {"b": {}}], "b": []}
    assert list(JsonPath.parse("$.a[1].b").find(document)) == [{}]  # type: ignore[arg-type]
    assert len(list(JsonPath.parse("$..b").find(document))) == 3  # type: ignore[arg-type]
    assert list(JsonPath.parse("$['a'][-1]['b']").find(document)) == [{}]  # type: ignore[arg-type]


def test_what_is_not_there() -> None:
    with pytest.raises(LocalError):
        discover(["none.yaml"])


def test_a_bundle_of_what_is_found(connected: Connected, imgmove: Run, tmp_path: Path) -> None:
    (tmp_path / "deploy.yaml").write_text(
        f"spec: {{containers: [{{image: '{connected.names[0]}'}}, {{image: 'x:$V'}}]}}"
    )
    ran = imgmove("bundle", "create", "-o", "x.bundle", "--from-manifests", "deploy.yaml")
    assert ran.status == 0, ran.stderr
    assert f"deploy.yaml:1 spec.containers[0].image: {connected.names[0]}" in ran.stderr
    assert "not decided: x:$V" in ran.stderr
    assert connected.names[0] in imgmove("bundle", "inspect", "x.bundle").stdout
