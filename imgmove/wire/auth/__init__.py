"""Authentication at registries: challenges, and the tokens that answer them."""

from __future__ import annotations

from imgmove.wire.auth.authenticator import Authenticator, Scope
from imgmove.wire.auth.challenge import Challenge, parse_challenges

__all__ = ["Authenticator", "Challenge", "Scope", "parse_challenges"]
