"""Remembering credentials where docker does, once the registry has taken them."""

from __future__ import annotations

from imgmove.errors import UsageError
from imgmove.model.credentials import Credentials
from imgmove.model.reference import check_host
from imgmove.settings.auth_file import registry_host
from imgmove.stages.session import Session


def login(session: Session, registry: str, credentials: Credentials) -> str:
    """Tries credentials at a registry and keeps them.

    Returns:
        The file or the helper that keeps them now.

    Raises:
        UsageError: one of them is empty, as when a script's variable isn't set.
        AccessDenied: the registry does not take them; nothing is kept.
    """
    for what, given in (("user name", credentials.username), ("password", credentials.password)):
        if not given:
            raise UsageError(f"the {what} is empty")
    host = check_host(registry_host(registry))
    registries = session.endpoints.registries
    session.run.persist(f"logging in to {host}", lambda: registries.check_credentials(host, credentials))
    return session.settings.credentials.store(host, credentials)


def logout(session: Session, registry: str) -> bool:
    """Forgets the credentials for a registry.

    Returns:
        Whether there were any.
    """
    return session.settings.credentials.erase(check_host(registry_host(registry)))
