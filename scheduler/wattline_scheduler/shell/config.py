"""Start options of a scheduler. Everything else is in the site file."""

from pathlib import Path

import msgspec

from wattline_scheduler.store.verify import Verification

SITE_FILE = "site.toml"


class SchedulerConfig(msgspec.Struct, frozen=True):
    """Site and state directories of a scheduler."""

    site_dir: Path
    """Created by `wattline init`: site.toml, keys/, authorized/."""
    state_dir: Path
    """The store; one scheduler at a time."""
    recover: bool = False
    """The store is a restored backup (I8)."""
    log_json: bool = False
    """One JSON object a line, also on a terminal."""
    verification: Verification | None = None
    """Verification of the store, if the program started one."""
