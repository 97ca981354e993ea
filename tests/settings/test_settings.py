from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from imgmove.errors import ConfigError, UsageError
from imgmove.model.connection import RegistryEndpoint, TlsFiles
from imgmove.model.credentials import Credentials
from imgmove.settings import HostOptions, Settings, SideOptions
from tests.settings.conftest import FIXTURES, Machine

DIGEST = "sha256:" + "0" * 64
MIRRORS = str(FIXTURES / "config" / "registries-mirrors.conf")


def plain(settings: Settings, host: str) -> tuple[bool, bool]:
    return settings.for_side("source").is_plain_http(host), settings.for_side("destination").is_plain_http(host)


class TestNumbers:
    @pytest.mark.parametrize(
        "wrong",
        [{"jobs": 0}, {"retries": -1}, {"timeout": 0.0}, {"timeout": float("nan")}, {"timeout": float("inf")}],
    )
    def test_out_of_range(self, wrong: dict[str, float]) -> None:
        with pytest.raises(UsageError):
            replace(Settings(), **wrong)  # type: ignore[arg-type]

    def test_a_rate_of_nothing(self) -> None:
        with pytest.raises(UsageError, match="at least 1 byte per second"):
            Settings(limit_rate=0)


class TestPlainHttp:
    def test_this_machine_and_all_others(self, machine: Machine) -> None:
        settings = Settings(machine.environment())
        assert plain(settings, "localhost:5000") == (True, True)
        assert plain(settings, "example.org") == (False, False)

    def test_options_of_a_side_decide(self, machine: Machine) -> None:
        settings = Settings(
            machine.environment(), source=SideOptions(plain_http=True), destination=SideOptions(plain_http=False)
        )
        assert plain(settings, "localhost:5000") == (True, False)
        assert plain(settings, "example.org") == (True, False)

    def test_a_ca_option_implies_tls(self, machine: Machine) -> None:
        settings = Settings(machine.environment(), destination=SideOptions(ca_files=("ca.pem",)))
        assert plain(settings, "127.0.0.1:5000") == (True, False)
        explicit = replace(settings, destination=replace(settings.destination, plain_http=True))
        assert plain(explicit, "127.0.0.1:5000") == (True, True)

    @pytest.mark.parametrize("names", [["ca.crt"], ["client.cert", "client.key"]])
    def test_an_entry_of_certs_d_implies_tls(self, machine: Machine, names: list[str]) -> None:
        for name in names:
            machine.write(f"system/etc/docker/certs.d/localhost:5000/{name}", "")
        settings = Settings(machine.environment())
        assert plain(settings, "localhost:5000") == (False, False)
        assert plain(settings, "localhost:5001") == (True, True)


class TestTls:
    def test_options_certs_d_and_variables_together(self, machine: Machine) -> None:
        found = machine.write("system/etc/containers/certs.d/example.org/ca.crt", "")
        environment = machine.environment(SSL_CERT_FILE="/roots.pem", SSL_CERT_DIR="/roots")
        settings = Settings(environment, source=SideOptions(ca_files=("mine.pem",), verify_tls=False))
        assert settings.for_side("source").tls_files_for("example.org") == TlsFiles(
            ("mine.pem", str(found)), verify=False, roots_file="/roots.pem", roots_folder="/roots"
        )
        assert settings.for_side("destination").tls_files_for("example.com") == TlsFiles(
            roots_file="/roots.pem", roots_folder="/roots"
        )


class TestEndpoints:
    def test_without_registries_conf(self, machine: Machine) -> None:
        settings = Settings(machine.environment())
        assert settings.for_side("source").endpoints_for("example.org", "app", tag="1") == (
            RegistryEndpoint("example.org", "app"),
        )

    def test_mirrors_for_reading_alone(self, machine: Machine) -> None:
        settings = Settings(machine.environment(CONTAINERS_REGISTRIES_CONF=MIRRORS))
        assert settings.for_side("source").endpoints_for("registry.com", "app", digest=DIGEST) == (
            RegistryEndpoint("mirror-1.registry.com", "app", is_named=False),
            RegistryEndpoint(
                "mirror-2.registry.com", "app", allows_http=True, tls=TlsFiles(verify=False), is_named=False
            ),
            RegistryEndpoint("registry.com", "app"),
        )
        assert settings.for_side("destination").endpoints_for("registry.com", "app") == (
            RegistryEndpoint("registry.com", "app"),
        )

    @pytest.mark.parametrize("side", ["source", "destination"])
    def test_a_blocked_registry(self, machine: Machine, side: str) -> None:
        settings = Settings(machine.environment(CONTAINERS_REGISTRIES_CONF=MIRRORS))
        asked = settings.for_side("source" if side == "source" else "destination")
        with pytest.raises(ConfigError, match=r"registries-mirrors\.conf blocks blocked\.registry\.com"):
            asked.endpoints_for("blocked.registry.com", "app")

    def test_an_insecure_registry_on_both_sides(self, machine: Machine) -> None:
        machine.write("home/.config/containers/registries.conf", "[[registry]]\nlocation='r.org'\ninsecure=true\n")
        settings = Settings(machine.environment(), destination=SideOptions(plain_http=False))
        unverified = TlsFiles(verify=False)
        assert settings.for_side("source").endpoints_for("r.org", "app") == (
            RegistryEndpoint("r.org", "app", allows_http=True, tls=unverified),
        )
        assert settings.for_side("destination").endpoints_for("r.org", "app") == (
            RegistryEndpoint("r.org", "app", tls=unverified),
        )

    def test_options_about_the_named_registry_are_none_of_its_mirrors(self, machine: Machine) -> None:
        mine = Credentials("me", "pw")
        machine.write_json(
            "home/.docker/config.json", {"auths": {"mirror-1.registry.com": {"username": "mirror", "password": "pw"}}}
        )
        settings = Settings(
            machine.environment(CONTAINERS_REGISTRIES_CONF=MIRRORS),
            source=SideOptions(credentials=mine, plain_http=True),
        )
        side = settings.for_side("source")
        first, second, own = side.endpoints_for("registry.com", "app")
        found = [side.credentials_for(endpoint) for endpoint in (first, second, own)]
        assert found == [Credentials("mirror", "pw"), None, mine]
        assert [endpoint.plain_http for endpoint in (first, second, own)] == [False, False, True]

    def test_a_registry_that_is_really_elsewhere_is_the_named_one(self, machine: Machine) -> None:
        machine.write(
            "home/.config/containers/registries.conf",
            "[[registry]]\nprefix='r.org'\nlocation='localhost:5000/r'\n[[registry.mirror]]\nlocation='localhost:5001'",
        )
        mine = Credentials("me", "pw")
        side = Settings(machine.environment(), source=SideOptions(credentials=mine)).for_side("source")
        mirror, own = side.endpoints_for("r.org", "app")
        assert mirror == RegistryEndpoint("localhost:5001", "app", plain_http=True, is_named=False)
        assert own == RegistryEndpoint("localhost:5000", "r/app", plain_http=True)
        assert (side.credentials_for(mirror), side.credentials_for(own)) == (None, mine)


class TestTheRest:
    def test_credentials_by_side(self, machine: Machine) -> None:
        path = machine.write_json("auth.json", {"auths": {"example.org": {"username": "file", "password": "pw"}}})
        mine = Credentials("me", "pw")
        settings = Settings(machine.environment(), destination=SideOptions(credentials=mine), authfile=str(path))
        assert settings.for_side("source").find_credentials("example.org", "app") == Credentials("file", "pw")
        assert settings.for_side("destination").find_credentials("example.org", "app") == mine

    def test_places_and_proxies(self) -> None:
        settings = Settings.from_environment({"HTTPS_PROXY": "http://p:1", "XDG_CACHE_HOME": "/k"}, home="/home/me")
        assert settings.knowledge_file == "/k/imgmove/knowledge.sqlite"
        assert settings.proxy_for("https://example.org/") == "http://p:1"

    def test_secrets_are_not_shown(self, machine: Machine) -> None:
        mine = Credentials("me", "hunter2")
        settings = Settings(machine.environment(TOKEN="hunter2"), source=SideOptions(credentials=mine))
        assert "hunter2" not in f"{settings!r} {settings.for_side('source')!r}"

    def test_importing_is_light(self) -> None:
        heavy = "{'subprocess', 'shutil', 'tempfile', 'tomllib', 'ssl', 'requests', 'http.client', 'urllib.request', 'asyncio'}"
        script = f"import sys, imgmove.settings; print(sorted({heavy} & set(sys.modules)))"
        result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert result.stdout == "[]\n"


class TestOneRegistry:
    def test_its_options_count_more_than_those_of_the_side(self, machine: Machine) -> None:
        named = HostOptions(SideOptions(Credentials("bot", "x"), True, False, ("own.pem",)), 3, 5)
        settings = Settings(
            machine.environment(), source=SideOptions(Credentials("me", "y")), hosts={"reg.example.com": named}
        )
        reading, writing = settings.for_side("source"), settings.for_side("destination")
        assert reading.find_credentials("reg.example.com") == writing.find_credentials("reg.example.com")
        assert reading.find_credentials("reg.example.com") == Credentials("bot", "x")
        assert reading.find_credentials("example.org") == Credentials("me", "y")
        assert plain(settings, "reg.example.com") == (True, True)
        assert plain(settings, "example.org") == (False, False)
        assert reading.tls_files_for("reg.example.com").ca_files == ("own.pem",)
        assert not reading.tls_files_for("reg.example.com").verify
        assert reading.tls_files_for("example.org").verify
        assert (reading.most_connections_to("reg.example.com"), writing.most_connections_to("reg.example.com")) == (
            3,
            5,
        )
        assert reading.most_connections_to("example.org") is None

    def test_docker_hub_by_its_real_address(self, machine: Machine) -> None:
        settings = Settings(machine.environment(), hosts={"docker.io": HostOptions(most_reading=4)})
        assert settings.for_side("source").most_connections_to("registry-1.docker.io") == 4
