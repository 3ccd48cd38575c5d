"""The operator's terminal."""

import sys

from wattline import exits
from wattline.client import Client
from wattline.failures import ActFailed
from wattline.verbs.run import Outcome


def top(client: Client) -> Outcome:
    """Run it over the site until the user quits."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ActFailed(
            "top requires a terminal; in a pipe use `wattline nodes`, `jobs` or `power`"
        )
    from wattline_tui.settings import SettingsError
    from wattline_tui.top import run_top

    try:
        return Outcome(None, run_top(client))
    except SettingsError as error:
        raise ActFailed(str(error), exits.USAGE) from error
