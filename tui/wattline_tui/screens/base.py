"""Base of all screens: the status line, the footer, and updates of the view."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.screen import Screen
from textual.widgets import Footer

from wattline_protocol.wire.client_messages import Answer, Request
from wattline_tui.model import View
from wattline_tui.widgets.status import StatusLine


class SiteScreen(Screen[None]):
    """A screen that draws the view whenever it changes."""

    def compose(self) -> ComposeResult:
        """Status on top, content, keys at the bottom."""
        yield StatusLine()
        yield from self.content()
        yield Footer(show_command_palette=False)

    def content(self) -> ComposeResult:
        """The widgets between status line and footer; each screen has its own."""
        yield from ()

    def show(self, view: View, now_s: float) -> None:
        """Draw the view. Called once a second and after every snapshot."""
        self.query_one(StatusLine).show(view, now_s)
        if view.site is not None:
            self.draw(view)

    def draw(self, view: View) -> None:
        """Draw a view with a snapshot; implemented by each screen."""


class ListScreen(SiteScreen):
    """A screen that draws the answer to one request."""

    request: ClassVar[Request]

    def show_answer(self, answer: Answer, now_unix_s: float) -> None:
        """Draw the scheduler's answer; implemented by each screen."""
