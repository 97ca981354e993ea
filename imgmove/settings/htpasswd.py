"""Files of users and hashed passwords, as ``htpasswd -B`` writes them and other registries read them."""

from __future__ import annotations

from imgmove.errors import ConfigError
from imgmove.settings.user_file import read_file

_BCRYPT = ("$2a$", "$2b$", "$2y$")


def read_htpasswd(path: str) -> dict[str, bytes]:
    """The bcrypt hash of each user.

    Raises:
        ConfigError: there is no such file, a line is none of its kind, or a hash is of a weaker kind than bcrypt.
        LocalError: the file may not be read.
    """
    content = read_file(path)
    if content is None:
        raise ConfigError(f"{path}: no such file", hint="htpasswd -Bbc FILE USER PASSWORD makes one")
    users: dict[str, bytes] = {}
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        user, colon, hashed = text.partition(":")
        if not user or not colon:
            raise ConfigError(f"{path}: line {number} is not USER:HASH")
        if not hashed.startswith(_BCRYPT):
            raise ConfigError(f"{path}: the hash in line {number} is not bcrypt", hint="htpasswd needs -B")
        users[user] = hashed.encode()
    if not users:
        raise ConfigError(f"{path} names no user")
    return users
