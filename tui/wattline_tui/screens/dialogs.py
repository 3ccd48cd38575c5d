"""Confirmation of irreversible acts, and the help page."""

from typing import ClassVar, get_args

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input

from wattline_tui.actions import ACTIONS, Place, key_names
from wattline_tui.widgets.facts import Facts

GLOSSARY = (
    ("domain", "nodes behind one limit: breaker, feed, cooling unit"),
    ("budget", "rating × derate, or less while a limit is in force"),
    ("committed", "maximum draw of the nodes by their leases"),
    ("lease", "wall watts granted to one node until replaced"),
    ("cap", "power limit in force on one GPU"),
    ("due, used", "an account's share of the site, and of the use"),
    ("used/due", "lowest first among accounts with the same parent"),
    ("still there", "jobs of other users on reserved nodes: they continue"),
    ("▾ or power cap", "the cap reduces the GPU's clocks: it could use more watts"),
)


class Ask(ModalScreen[str | None]):
    """One line of input. Enter accepts it, Esc cancels it."""

    CSS_PATH = "dialogs.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Leave")]

    def __init__(self, question: str, hint: str) -> None:
        super().__init__()
        self._question, self._hint = question, hint

    def compose(self) -> ComposeResult:
        """Question and input."""
        with Vertical(classes="dialog"):
            yield Facts(self._question)
            yield Input(placeholder=self._hint)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Accept the answer."""
        self.dismiss(event.value.strip())

    def action_leave(self) -> None:
        """Cancel without an answer."""
        self.dismiss(None)


class Confirm(ModalScreen[bool]):
    """Yes or no; only `y` means yes."""

    CSS_PATH = "dialogs.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes"),
        Binding("n,escape", "answer(False)", "No"),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        """The question."""
        with Vertical(classes="dialog"):
            yield Facts(f"{self._question}\n\ny = yes · n = no")

    def action_answer(self, yes: bool) -> None:
        """Return the answer."""
        self.dismiss(yes)


class Page(ModalScreen[None]):
    """A text to read."""

    CSS_PATH = "dialogs.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,question_mark,f1", "leave", "Leave")]

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        """The text, and how to close it."""
        with VerticalScroll(classes="dialog wide"):
            yield Facts(f"{self._text}\n\nEsc closes this page")

    def action_leave(self) -> None:
        """Return to the screen below."""
        self.dismiss(None)


def help_text() -> str:
    """All keys and terms on screen, from the table of actions."""
    lines: list[str] = []
    for place in get_args(Place):
        lines.append(f"{place.capitalize()}")
        lines += [f"  {key_names(a):<10} {a.help}" for a in ACTIONS if a.place == place]
    lines += ["", "Words", *(f"  {word:<15} {means}" for word, means in GLOSSARY)]
    return "\n".join(lines)
