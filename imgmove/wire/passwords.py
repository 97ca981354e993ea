"""Checking passwords against their hashes: the one door of bcrypt."""

from __future__ import annotations

import hashlib
import hmac
import os
import threading
from collections.abc import Mapping


class HashedPasswords:
    """Knows users by the bcrypt hashes of their passwords. Safe for many threads.

    bcrypt is slow on purpose, and a client sends its password with each request, so what was right once is remembered
    under a quick hash with a salt of this process.
    """

    def __init__(self, users: Mapping[str, bytes]) -> None:
        self._users = users
        self._salt = os.urandom(32)
        self._right: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def __call__(self, user: str, password: str) -> bool:
        """Whether this user has this password."""
        quick = hashlib.blake2b(password.encode("utf-8", "surrogatepass"), key=self._salt).digest()
        with self._lock:
            known = self._right.get(user)
        if known is not None and hmac.compare_digest(known, quick):
            return True
        is_right = _matches(self._users.get(user), password)
        if is_right:
            with self._lock:
                self._right[user] = quick
        return is_right


def _matches(hashed: bytes | None, password: str) -> bool:
    import bcrypt

    # bcrypt looks at 72 bytes, and its newer releases refuse more instead of ignoring the rest.
    given = password.encode("utf-8", "surrogatepass")[:72]
    try:
        # A user who does not exist takes as long as one who does.
        return bcrypt.checkpw(given, hashed or _NOBODY) and hashed is not None
    except ValueError:
        return False


_NOBODY = b"$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"
