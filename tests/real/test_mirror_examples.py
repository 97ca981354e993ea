"""The examples for cron, systemd and Kubernetes, each looked at by the program that will have to like it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from imgmove.mirror.meaning import parse_mirror_file, read_mirror_file
from tests.real.requirements import require

pytestmark = pytest.mark.real

EXAMPLES = Path(__file__).parents[2] / "examples" / "mirror"
KUBERNETES = "1.30"


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((EXAMPLES / name).read_text()))


def test_the_mirror_file() -> None:
    file = read_mirror_file(str(EXAMPLES / "mirror.yaml"), {"MIRROR_PASSWORD": "x"}.get)
    assert [mirror.name for mirror in file.mirrors] == ["nginx", "team"]


def test_the_crontab() -> None:
    require("crontab")
    # Debian's says -n from version 12 on, others -T.
    tries = [
        subprocess.run(["crontab", option, str(EXAMPLES / "crontab")], capture_output=True) for option in ("-n", "-T")
    ]
    assert 0 in [done.returncode for done in tries], tries


@pytest.mark.parametrize("name", ["imgmove-mirror.service", "imgmove-mirror.timer"])
def test_the_systemd_units(name: str) -> None:
    require("systemd-analyze")
    done = subprocess.run(["systemd-analyze", "verify", str(EXAMPLES / name)], capture_output=True, text=True)
    assert (done.returncode, done.stderr.strip()) == (0, "")


def test_the_cron_job_of_kubernetes() -> None:
    config, claim, job = documents("kubernetes-cronjob.yaml")
    for document in (config, claim, job):
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    parse_mirror_file(config["data"]["mirror.yaml"].encode(), "mirror.yaml", {"MIRROR_PASSWORD": "x"}.get)
    job["spec"]["schedul"] = "x"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, KUBERNETES, strict=True)


def test_the_cluster_of_dask() -> None:
    """Its parts: the pods and the service. The resource around them belongs to Dask's operator."""
    (cluster,) = documents("kubernetes-dask.yaml")
    assert (cluster["apiVersion"], cluster["kind"]) == ("kubernetes.dask.org/v1", "DaskCluster")
    spec = cluster["spec"]
    for part in ("worker", "scheduler"):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": part}, "spec": spec[part]["spec"]}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": spec["scheduler"]["service"]}
    kubernetes_validate.validate(service, KUBERNETES, strict=True)
