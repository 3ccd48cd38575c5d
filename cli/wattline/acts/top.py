"""The operator's terminal."""

from wattline.client import Client
from wattline.verbs.run import Outcome


def top(client: Client) -> Outcome:
    """Open it over the running site, until the user leaves."""
    from wattline_tui.top import run_top

    return Outcome(None, run_top(client))
