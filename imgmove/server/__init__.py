"""The registry that imgmove can be: the OCI distribution API over whatever holds images."""

from __future__ import annotations

from imgmove.server.auth import require_password
from imgmove.server.connection import Limits
from imgmove.server.exchange import Exchange, Handler, Request, Response
from imgmove.server.http import HttpServer, Listener, StreamServer
from imgmove.server.memory import MemoryRepositories
from imgmove.server.named import NamedRepositories, WritableRepositories
from imgmove.server.registry import Registry
from imgmove.server.repositories import Repositories, Repository
from imgmove.server.rules import Rules
from imgmove.server.served import FixedRepositories, PushableRepository, SourceRepository

__all__ = [
    "Exchange",
    "FixedRepositories",
    "Handler",
    "HttpServer",
    "Limits",
    "Listener",
    "MemoryRepositories",
    "NamedRepositories",
    "PushableRepository",
    "Registry",
    "Repositories",
    "Repository",
    "Request",
    "Response",
    "Rules",
    "SourceRepository",
    "StreamServer",
    "WritableRepositories",
    "require_password",
]
