from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmove.errors import ConfigError
from imgmove.model.connection import ProxyRules, is_loopback

LOOPBACK = ["localhost", "localhost:5000", "LOCALHOST", "127.0.0.1", "127.8.9.10:80", "[::1]", "[::1]:5000"]
LOOPBACK += ["reg.localhost", "reg.localhost:5000"]
ELSEWHERE = ["example.org", "localhost.example.org", "notlocalhost", "128.0.0.1", "0.0.0.0", "10.0.0.1:5000", "[::2]"]
ELSEWHERE += ["127.0.0.1.example.org", "registry", "", ":5000", "localhost:port", "[::1", "localhost/"]


@pytest.mark.parametrize("host", LOOPBACK)
def test_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ELSEWHERE)
def test_other_machines_and_what_is_no_host(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("https://example.org/v2/", "http://secure:3128"),
        ("HTTPS://example.org?x", "http://secure:3128"),
        ("http://example.org", "http://plain:3128"),
        ("ftp://example.org", None),
        ("https://localhost:5000/v2/", None),
        ("https://127.0.0.1/v2/", None),
        ("https://[::1]/v2/", None),
        ("https://", None),
        ("https://[::", None),
        ("https://host:port/", None),
        ("example.org", None),
        ("", None),
    ],
)
def test_the_scheme_decides_and_this_machine_is_never_behind_a_proxy(url: str, proxy: str | None) -> None:
    assert ProxyRules(http="plain:3128", https="http://secure:3128").proxy_for(url) == proxy


def test_no_proxy_at_all() -> None:
    assert ProxyRules().proxy_for("https://example.org/") is None
    assert ProxyRules(http="http://plain:3128").proxy_for("https://example.org/") is None


@pytest.mark.parametrize(
    ("entry", "direct", "proxied"),
    [
        ("*", ["example.org", "10.1.2.3"], []),
        ("example.org", ["example.org", "EXAMPLE.org", "a.b.example.org:5000", "example.org."], ["notexample.org"]),
        (".example.org", ["a.example.org"], ["example.org"]),
        ("*.example.org", ["a.example.org"], ["example.org"]),
        ("example.org:5000", ["example.org:5000"], ["example.org", "example.org:5001"]),
        ("example.org:443", ["example.org", "example.org:443"], ["example.org:80"]),
        ("10.0.0.0/8", ["10.1.2.3", "10.255.0.1:5000"], ["11.0.0.1", "10.example.org"]),
        ("10.1.2.3", ["10.1.2.3", "10.1.2.3:5000"], ["10.1.2.30"]),
        ("10.1.2.3:5000", ["10.1.2.3:5000"], ["10.1.2.3"]),
        ("fd00::/8", ["[fd00::1]", "[fd12::]:5000"], ["[fe00::1]", "10.1.2.3"]),
        ("fd00::1", ["[fd00::1]", "[fd00:0::1]:5000"], ["[fd00::2]"]),
        ("10.0.0.0/99", [], ["10.0.0.1"]),
        ("[", [], ["example.org"]),
        ("host:port", [], ["host"]),
        (":5000", [], ["example.org:5000"]),
    ],
)
def test_entries_of_no_proxy(entry: str, direct: list[str], proxied: list[str]) -> None:
    rules = ProxyRules(https="http://proxy:3128", no_proxy=("other.example.com", entry))
    assert [host for host in direct if rules.proxy_for(f"https://{host}/v2/")] == []
    assert [host for host in proxied if not rules.proxy_for(f"https://{host}/v2/")] == []


@pytest.mark.parametrize("proxy", ["socks5://me:hunter2@p", "http://", "http://me:hunter2@p:port", "http://[hunter2"])
def test_a_proxy_that_is_none_is_refused_without_showing_it(proxy: str) -> None:
    with pytest.raises(ConfigError, match="^HTTPS_PROXY is not an http:// or https:// address$"):
        ProxyRules(https=proxy).proxy_for("https://example.org/")


@given(
    url=st.text(max_size=20) | st.from_regex(r"https?://[\w.:\[\]@/-]{0,20}", fullmatch=True),
    proxy=st.text(max_size=20),
    entry=st.text(max_size=20) | st.from_regex(r"[\w.:\[\]/*]{0,20}", fullmatch=True),
)
def test_wild_texts_end_in_an_answer_or_one_kind_of_error(url: str, proxy: str, entry: str) -> None:
    try:
        answer = ProxyRules(http=proxy, https=proxy, no_proxy=(entry,)).proxy_for(url)
    except ConfigError:
        return
    assert answer is None or "://" in answer


def test_passwords_of_proxies_are_not_shown() -> None:
    assert "hunter2" not in repr(ProxyRules(https="http://me:hunter2@proxy:3128"))
