"""HTTP: the one door of requests, which is imported when the first request is made."""

from __future__ import annotations

from imgmove.wire.http.client import Body, HttpClient, Response
from imgmove.wire.http.download import Download
from imgmove.wire.http.errors import check_status, error_of

__all__ = ["Body", "Download", "HttpClient", "Response", "check_status", "error_of"]
