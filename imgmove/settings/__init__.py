"""The sole reader of the environment and of users' files; everything else is handed values.

`Settings` is what a run was told; `Settings.for_side` answers for the side that is read or written.
"""

from __future__ import annotations

from imgmove.settings.rate import parse_rate, parse_size
from imgmove.settings.settings import HostOptions, Settings, SideOptions, SideSettings, SshOptions

__all__ = ["HostOptions", "Settings", "SideOptions", "SideSettings", "SshOptions", "parse_rate", "parse_size"]
