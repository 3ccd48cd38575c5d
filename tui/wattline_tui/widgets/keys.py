"""The line of keys: modes on the left, what else can be done on the right; all can be clicked."""

from collections.abc import Sequence
from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual.app import App
from textual.widget import Widget

from wattline_tui.actions import ACTIONS, Action, Place, key_name
from wattline_tui.acts.table import ACTS
from wattline_tui.mode_names import MODE_NAMES
from wattline_tui.model import View

KEYS = {one.id: one.keys for one in ACTIONS} | {one.id: one.key for one in ACTS}
"""Of actions and acts, by their ids."""


def key_of(app: App[object], id: str) -> str:  # noqa: A002 - as in the tables
    """The first key of an action or an act, as the user has mapped it, for display."""
    keys = app._keymap.get(id, KEYS[id])  # noqa: SLF001 - Textual has no getter
    return key_name(keys.split(",")[0])


class KeyLine(Widget):
    """Drawn from the tables of modes and actions."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"keys--key", "keys--mode", "keys--alarm"}

    def __init__(self, *places: Place) -> None:
        super().__init__()
        self._places = places
        self._problems = 0

    def show(self, view: View) -> None:
        """Count the problems."""
        site = view.site
        problems = site.open_alarms + site.open_warnings if site else 0
        if problems != self._problems:
            self._problems = problems
            self.refresh()

    def render(self) -> Text:
        """In full, or short where that is too wide; the right part loses keys then."""
        shown = [a for a in ACTIONS if a.in_footer and a.place in self._places]
        modes, actions = self._modes(is_short=False), self._actions(shown, is_short=False)
        if modes.cell_len + _cells(actions) > self.size.width:
            modes, actions = self._modes(is_short=True), self._actions(shown, is_short=True)
        for at in _least_first(shown):
            if modes.cell_len + _cells(actions) > self.size.width:
                actions[at] = Text()
        blanks = self.size.width - modes.cell_len - _cells(actions)
        return Text.assemble(modes, " " * max(0, blanks), *actions)

    def _modes(self, *, is_short: bool) -> Text:
        text = Text(no_wrap=True, overflow="ellipsis")
        for mode in MODE_NAMES:
            is_shown = mode.id == self.app.current_mode
            style = self._look("keys--mode") if is_shown else Style.null()
            click = Style(meta={"@click": f"app.mode('{mode.id}')"})
            title = mode.short if is_short else mode.title
            key = key_name(self._key(mode.id, mode.key))
            text.append(f" {key}", self._look("keys--key") + click + style)
            text.append(f"{'' if is_short else ' '}{title}", style + click)
            if mode.id == "problems" and self._problems:
                text.append(f" {self._problems}", self._look("keys--alarm") + click)
        return text

    def _actions(self, shown: Sequence[Action], *, is_short: bool) -> list[Text]:
        return [self._action(one, end="" if is_short else " ") for one in shown]

    def _action(self, action: Action, *, end: str) -> Text:
        key = self._key(action.id, action.keys)
        click = Style(meta={"@click": f"app.press('{key}')"})
        look = self._look("keys--key") + click
        return Text.assemble((f" {key_name(key)}", look), (f" {action.label}{end}", click))

    def _key(self, id: str, keys: str) -> str:  # noqa: A002 - as in the tables
        """The first key of it, as the user has mapped it."""
        return self.app._keymap.get(id, keys).split(",")[0]  # noqa: SLF001 - Textual has no getter

    def _look(self, name: str) -> Style:
        return self.get_component_rich_style(name, partial=True)


def _least_first(shown: Sequence[Action]) -> list[int]:
    """Their places in the order in which they leave: those of the screen's own keys, the last
    first, then those of the others; help stays longest, as it names all keys."""

    def weight(at: int) -> tuple[bool, bool, int]:
        return shown[at].id == "help", shown[at].place == "everywhere", -at

    return sorted(range(len(shown)), key=weight)


def _cells(parts: Sequence[Text]) -> int:
    return sum(one.cell_len for one in parts)
