"""The screen that each mode begins with."""

from collections.abc import Callable
from typing import Any

from textual.screen import Screen

from wattline_tui.screens.accounts import AccountsScreen
from wattline_tui.screens.jobs import JobsScreen
from wattline_tui.screens.nodes import NodesScreen
from wattline_tui.screens.overview import OverviewScreen
from wattline_tui.screens.power import PowerScreen
from wattline_tui.screens.problems import ProblemsScreen
from wattline_tui.screens.services import ServicesScreen

SCREENS: dict[str, str | Callable[[], Screen[Any]]] = {
    "site": OverviewScreen,
    "nodes": NodesScreen,
    "jobs": JobsScreen,
    "services": ServicesScreen,
    "problems": ProblemsScreen,
    "power": PowerScreen,
    "accounts": AccountsScreen,
}
"""By the ids of `MODE_NAMES`."""
