"""What a scheduler is started with. Everything else stands in the site file."""

from pathlib import Path

import msgspec

from wattline_scheduler.store.verify import Verification

SITE_FILE = "site.toml"


class SchedulerConfig(msgspec.Struct, frozen=True):
    """Where a scheduler finds its site and keeps its state."""

    site_dir: Path
    """Made by `wattline init`: site.toml, keys/, authorized/."""
    state_dir: Path
    """The store; one scheduler at a time."""
    recover: bool = False
    """The store is a restored backup (I8)."""
    log_json: bool = False
    """One JSON object a line, also on a terminal."""
    verification: Verification | None = None
    """Of the store, where it began with the program."""
