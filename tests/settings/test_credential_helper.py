from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imgmove.errors import ConfigError, ImgmoveError, LocalError
from imgmove.model.credentials import Credentials
from imgmove.settings.credential_helper import CredentialHelper
from tests.settings.conftest import Helper, Machine

SECRET = "s3cr3t-that-is-told-nobody"


def helper(machine: Machine, name: str = "fake", timeout: float = 60) -> CredentialHelper:
    return CredentialHelper(name, "/home/me/config.json", machine.environment().variables, timeout)


def scripted(machine: Machine, script: str) -> CredentialHelper:
    machine.write_program("docker-credential-fake", f"#!/bin/sh\n{script}\n")
    return helper(machine)


def test_stores_gives_and_erases(machine: Machine) -> None:
    Helper(machine, "fake", {})
    asked = helper(machine)
    assert asked.get("example.org") is None
    asked.store("example.org", Credentials("me", SECRET))
    assert asked.get("example.org") == Credentials("me", SECRET)
    asked.erase("example.org")
    assert asked.get("example.org") is None


def test_an_identity_token_goes_by_a_name_of_its_own(machine: Machine) -> None:
    kept = Helper(machine, "fake", {})
    asked = helper(machine)
    asked.store("example.org", Credentials("me", "", identity_token=SECRET))
    assert kept.servers == {"example.org": {"ServerURL": "example.org", "Username": "<token>", "Secret": SECRET}}
    assert asked.get("example.org") == Credentials(identity_token=SECRET)


def test_a_program_that_is_missing_is_named_with_the_file_that_wants_it(machine: Machine) -> None:
    with pytest.raises(
        ConfigError, match=r"/home/me/config.json .* docker-credential-absent, which is not on the PATH"
    ):
        helper(machine, "absent").get("example.org")


@pytest.mark.parametrize("name", ["../fake", "/bin/fake", "a/b"])
def test_a_name_with_a_path_is_refused(machine: Machine, name: str) -> None:
    with pytest.raises(ConfigError, match="is not the name of a credential helper"):
        helper(machine, name).get("example.org")


@pytest.mark.parametrize(
    "answer",
    ["", "[]", '"text"', '{"Username": "me"}', '{"Username": "me", "Secret": 7}', f"{{{SECRET}", f'["{SECRET}"]'],
)
def test_an_answer_that_is_none(machine: Machine, answer: str) -> None:
    asked = scripted(machine, f"/bin/cat >/dev/null; /bin/cat <<'END'\n{answer}\nEND")
    with pytest.raises(ConfigError, match="did not answer with a Username and a Secret for example.org") as caught:
        asked.get("example.org")
    assert SECRET not in str(caught.value)


def test_a_failure_is_told_in_its_own_words(machine: Machine) -> None:
    asked = scripted(machine, "echo 'the keyring is locked'; echo more; exit 1")
    with pytest.raises(LocalError, match=r"docker-credential-fake get failed with status 1: the keyring is locked$"):
        asked.get("example.org")


def test_words_that_hold_a_secret_are_not_told(machine: Machine) -> None:
    asked = scripted(machine, f'echo \'{{"Username":"me","Secret":"{SECRET}"}}\'; exit 1')
    with pytest.raises(LocalError) as caught:
        asked.get("example.org")
    assert SECRET not in str(caught.value)
    echoing = scripted(machine, f"echo 'cannot keep {SECRET}' >&2; exit 1")
    with pytest.raises(LocalError) as caught:
        echoing.store("example.org", Credentials("me", SECRET))
    assert SECRET not in str(caught.value)


def test_a_program_that_hangs_is_ended(machine: Machine) -> None:
    machine.write_program("docker-credential-fake", "#!/bin/sh\nexec /bin/sleep 60\n")
    with pytest.raises(LocalError, match="docker-credential-fake get took more than 0.2 seconds"):
        helper(machine, timeout=0.2).get("example.org")


@pytest.mark.parametrize("stream", ["", " >&2"])
def test_a_program_that_prints_without_end_is_ended(machine: Machine, stream: str) -> None:
    asked = scripted(machine, f"while :; do echo {'x' * 4000}{stream}; done")
    with pytest.raises(LocalError, match="docker-credential-fake get printed more than any answer has"):
        asked.get("example.org")


def test_a_program_need_not_listen(machine: Machine) -> None:
    asked = scripted(machine, """exec <&-; echo '{"Username": "me", "Secret": "x"}'""")
    asked.store("example.org", Credentials("me", SECRET * 10_000))
    assert asked.get("example.org") == Credentials("me", "x")


def test_a_program_that_cannot_be_run(machine: Machine) -> None:
    machine.write_program("docker-credential-fake", "#!/no/such/interpreter\n")
    with pytest.raises(LocalError, match="docker-credential-fake cannot be run"):
        helper(machine).get("example.org")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15, deadline=None)
@given(output=st.binary(max_size=60), status=st.integers(0, 2))
def test_whatever_a_program_prints(machine: Machine, output: bytes, status: int) -> None:
    machine.write("output", output)
    asked = scripted(machine, f"/bin/cat >/dev/null; /bin/cat {machine.folder}/output; exit {status}")
    try:
        assert asked.get("example.org") is None
    except ImgmoveError as error:
        assert "\n" not in str(error)
