"""Base of all screens: the status line, the line of keys, and updates of the view."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

from textual.app import ComposeResult
from textual.screen import Screen

from wattline_protocol.views.site_views import SiteView
from wattline_protocol.wire.client_messages import Answer, Request
from wattline_tui.actions import Place
from wattline_tui.model import View
from wattline_tui.widgets.keys import KeyLine, key_of
from wattline_tui.widgets.list_pane import ListPane
from wattline_tui.widgets.status import StatusLine

SubjectKind = Literal[
    "node", "GPU", "job", "domain", "grid event", "service", "reservation", "problem"
]


@dataclass(frozen=True, slots=True)
class Subject:
    """What acts are about: what is chosen, under the cursor in focus, or the object shown."""

    kind: SubjectKind
    keys: tuple[str, ...]
    within: "Subject | None" = None
    """What contains them: acts are possible on it, too."""

    def keys_of(self, kind: str) -> tuple[str, ...]:
        """Those of a kind, its own or of what contains it; empty: it is about none."""
        if self.kind == kind:
            return self.keys
        return self.within.keys_of(kind) if self.within is not None else ()


class SiteScreen(Screen[None]):
    """A screen that draws the view whenever it changes."""

    place: ClassVar[Place] = "everywhere"
    """Where it has keys of its own."""

    def compose(self) -> ComposeResult:
        """Status on top, content, keys at the bottom."""
        yield StatusLine()
        yield from self.content()
        yield KeyLine(*self.places)

    @property
    def places(self) -> tuple[Place, ...]:
        """Whose keys the footer shows."""
        return self.place, "everywhere"

    def content(self) -> ComposeResult:
        """The widgets between status line and keys; each screen has its own."""
        yield from ()

    def __init__(self) -> None:
        super().__init__()
        self._drawn: SiteView | None = None

    def show(self, view: View, now_s: float, *, is_new: bool = False) -> None:
        """Draw the view: once a second its age, the rest if the snapshot is another one, or
        `is_new`: if it is to be shown differently."""
        self.query_one(StatusLine).show(view, now_s)
        self.query_one(KeyLine).show(view)
        if view.site is not None and (is_new or view.site is not self._drawn):
            self._drawn = view.site
            self.draw(view)

    def draw(self, view: View) -> None:
        """Draw a view with a snapshot; implemented by each screen."""

    def key_of(self, id: str) -> str:  # noqa: A002 - as in the tables
        """The first key of an action or an act, as the user has mapped it, for display."""
        return key_of(self.app, id)

    def subject(self) -> Subject | None:
        """What acts are about here; None: nothing is in focus."""
        return None

    def go_to(self, kind: SubjectKind, key: str) -> bool:
        """Move the cursor to an object; False: it is not shown here."""
        del kind, key
        return False


class ListScreen(SiteScreen):
    """A screen that draws the answers to its requests."""

    @property
    def request(self) -> Request | None:
        """What to ask now; None: nothing. Implemented by each screen."""
        return None

    @property
    def requests(self) -> tuple[Request, ...]:
        """The same, where a screen asks several things."""
        request = self.request
        return () if request is None else (request,)

    def show_answer(self, answer: Answer, now_unix_s: float) -> None:
        """Draw the scheduler's answer; implemented by each screen."""


class TableScreen(SiteScreen):
    """A screen with one list, whose rows are in the view."""

    place: ClassVar[Place] = "list"
    kind: ClassVar[SubjectKind]

    def __init__(self, pane: ListPane) -> None:
        super().__init__()
        self.pane = pane

    def content(self) -> ComposeResult:
        """The list fills the screen."""
        yield self.pane

    def on_mount(self) -> None:
        """Keys act on the list."""
        self.pane.table.focus()

    def show_rows(self, rows: Iterable[object], view: View, facts: str = "") -> None:
        """Draw these rows, and facts below, or else the totals of the list."""
        pane = self.pane
        pane.facts = facts or pane.facts
        pane.table.show(rows, view.site.unix_s if view.site else 0.0)

    def subject(self) -> Subject | None:
        """The chosen rows, or the one under the cursor."""
        picked = self.pane.table.rows.picked if self.pane.table.has_focus else ()
        return Subject(self.kind, picked) if picked else None

    def go_to(self, kind: SubjectKind, key: str) -> bool:
        """Move the cursor there, without the filter if that hides it."""
        if kind != self.kind:
            return False
        return self.pane.table.find(key) or (self.pane.clear_filter() and self.pane.table.find(key))
