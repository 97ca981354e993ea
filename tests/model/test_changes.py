"""What ``--change`` does, held against what docker 20.10 did with the same instructions."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmove.errors import MalformedContent, UsageError
from imgmove.model.changes import apply_changes
from tests.conftest import FIXTURES

RECORDED: list[dict[str, Any]] = json.loads((FIXTURES / "changes" / "docker-20.10.json").read_text())

BASE = {
    "Cmd": ["server"],
    "Entrypoint": ["/start"],
    "Env": ["PATH=/bin", "MODE=old"],
    "ExposedPorts": {"80/tcp": {}},
    "Labels": {"a": "1"},
    "OnBuild": ["RUN one"],
    "Shell": ["/bin/bash", "-e", "-c"],
    "Volumes": {"/data": {}},
    "WorkingDir": "/srv",
}


def changed(*changes: str) -> dict[str, object]:
    """What of the base is another after some changes."""
    after = apply_changes(BASE, changes)
    return {key: after.get(key) for key in BASE.keys() | after.keys() if after.get(key) != BASE.get(key)}


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: " + ".join(case["changes"])[:60])
def test_as_docker_does(case: dict[str, Any]) -> None:
    expected = case["imgmove"] if "because" in case else case["docker"]
    if expected is None:
        with pytest.raises(UsageError, match="--change"):
            apply_changes({}, case["changes"])
    else:
        assert apply_changes({}, case["changes"]) == expected


def test_each_difference_from_docker_has_a_reason() -> None:
    different = [case for case in RECORDED if "imgmove" in case]
    assert 0 < len(different) < 15
    assert all(case["because"] and case["imgmove"] != case["docker"] for case in different)


def test_an_entrypoint_ends_the_command_that_was_meant_for_the_former_one() -> None:
    assert changed('ENTRYPOINT ["/new"]') == {"Entrypoint": ["/new"], "Cmd": None}
    assert changed('CMD ["x"]', 'ENTRYPOINT ["/new"]') == {"Entrypoint": ["/new"], "Cmd": ["x"]}
    assert changed('ENTRYPOINT ["/new"]', 'CMD ["x"]') == {"Entrypoint": ["/new"], "Cmd": ["x"]}


def test_the_image_s_own_shell_runs_shell_commands() -> None:
    assert changed("CMD echo $MODE") == {"Cmd": ["/bin/bash", "-e", "-c", "echo $MODE"]}


def test_the_image_s_variables_are_put_in() -> None:
    assert changed("ENV MODE=new PATH=/opt:$PATH", "LABEL path=$PATH") == {
        "Env": ["PATH=/opt:/bin", "MODE=new"],
        "Labels": {"a": "1", "path": "/opt:/bin"},
    }


def test_sets_and_lists_grow() -> None:
    assert changed("EXPOSE 443", "VOLUME /more", "LABEL b=2", "ONBUILD RUN two", "WORKDIR app") == {
        "ExposedPorts": {"443/tcp": {}, "80/tcp": {}},
        "Volumes": {"/data": {}, "/more": {}},
        "Labels": {"a": "1", "b": "2"},
        "OnBuild": ["RUN one", "RUN two"],
        "WorkingDir": "/srv/app",
    }


def test_the_base_itself_stays() -> None:
    before = json.dumps(BASE)
    apply_changes(BASE, ["ENV a=1", "LABEL b=2", "EXPOSE 1", "VOLUME /x", "ONBUILD RUN x", "CMD x"])
    assert json.dumps(BASE) == before


@pytest.mark.parametrize("signal", ["SIGTERM", "term", "15", "SIGRTMIN+3", "rtmax-14", "64", "sigusr1"])
def test_signals(signal: str) -> None:
    assert changed(f"STOPSIGNAL {signal}") == {"StopSignal": signal}


@pytest.mark.parametrize("signal", ["", "SIG", "SIGFOO", "0", "65", "-9", "RTMIN+16", "RTMAX-15", "SIGTERM x", "९"])
def test_no_signals(signal: str) -> None:
    with pytest.raises(UsageError):
        changed(f"STOPSIGNAL {signal}")


@pytest.mark.parametrize(
    ("key", "value", "change"),
    [
        ("Env", "PATH=/bin", "ENV a=1"),
        ("Env", [1], "USER x"),
        ("Labels", ["a"], "LABEL a=1"),
        ("Labels", {"a": 1}, "LABEL a=1"),
        ("Volumes", ["/a"], "VOLUME /b"),
        ("ExposedPorts", "80", "EXPOSE 80"),
        ("Shell", "sh", "CMD x"),
        ("WorkingDir", 7, "WORKDIR a"),
        ("OnBuild", {}, "ONBUILD RUN x"),
    ],
)
def test_a_broken_base(key: str, value: object, change: str) -> None:
    config = {key: value}
    if not value:
        assert apply_changes(config, [change])
        return
    with pytest.raises(MalformedContent, match=key):
        apply_changes(config, [change])


def test_what_is_no_text() -> None:
    with pytest.raises(UsageError, match="UTF-8"):
        apply_changes({}, ["ENV a=\udcff"])


def test_a_list_without_end() -> None:
    with pytest.raises(UsageError):
        apply_changes({}, ["CMD " + "[" * 200_000])


NAMES = [
    "CMD",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "HEALTHCHECK",
    "LABEL",
    "ONBUILD",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
]
ARGUMENTS = st.text(alphabet="""ab1=-:/ "'\\${}[],#\n\tCMD""", max_size=30) | st.text(max_size=20)


@given(st.lists(st.builds("{} {}".format, st.sampled_from(NAMES), ARGUMENTS), max_size=4))
def test_whatever_is_written_is_understood_or_refused(changes: list[str]) -> None:
    try:
        config = apply_changes({}, changes)
    except UsageError as error:
        assert "\n" not in str(error) or any("\n" in change for change in changes)
    else:
        assert json.loads(json.dumps(config, ensure_ascii=False).encode("utf-8")) == config


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\n\r"), min_size=1))
def test_a_quoted_value_comes_through(value: str) -> None:
    quoted = "".join(f"\\{character}" if character in '"\\$' else character for character in value)
    assert apply_changes({}, [f'ENV a="{quoted}"']) == {"Env": [f"a={value}"]}
