"""Files of users and hashed passwords."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgmove.errors import ConfigError
from imgmove.settings.htpasswd import read_htpasswd

HASH = "$2y$05$" + "a" * 53


def test_users_are_read(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text(f"# those who may\n\nalice:{HASH}\nbob:{HASH}\n")
    assert read_htpasswd(str(path)) == {"alice": HASH.encode(), "bob": HASH.encode()}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "names no user"),
        ("alice", "line 1 is not USER:HASH"),
        (":x", "line 1 is not USER:HASH"),
        ("alice:plain", "not bcrypt"),
        ("alice:$apr1$x$y", "not bcrypt"),
    ],
)
def test_what_is_wrong_is_named_without_quoting_it(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "users"
    path.write_text(content)
    with pytest.raises(ConfigError, match=said) as caught:
        read_htpasswd(str(path))
    assert "plain" not in caught.value.message


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        read_htpasswd(str(tmp_path / "none"))
