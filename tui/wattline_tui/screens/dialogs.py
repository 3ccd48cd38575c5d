"""Dialogs: what is typed for an act, its confirmation with a reason, the list of acts, pages."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.events import Key
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from wattline_protocol.text.visible import visible_line
from wattline_tui.actions import key_names
from wattline_tui.acts.orders import MAX_CHARS
from wattline_tui.acts.proposal import Proposal
from wattline_tui.widgets.facts import Facts

T = TypeVar("T")


class Ask(ModalScreen[T | None], Generic[T]):
    """One line of input. Enter accepts it if `read` does, Esc cancels it."""

    CSS_PATH = "dialogs.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Leave")]

    def __init__(self, question: str, hint: str, read: Callable[[str], T]) -> None:
        super().__init__()
        self._question, self._hint, self._read = question, hint, read

    def compose(self) -> ComposeResult:
        """Question and input."""
        with Vertical(classes="dialog"):
            yield Facts(self._question)
            yield Input(placeholder=self._hint, max_length=MAX_CHARS)
            yield Facts(id="fault")

    def on_input_changed(self) -> None:
        """What was wrong may be right now."""
        self.query_one("#fault", Facts).show("")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Accept what is typed, or say what would be right."""
        text = event.value.strip()
        if not text:
            return
        try:
            answer = self._read(text)
        except ValueError as error:
            self.query_one("#fault", Facts).show(str(error))
        else:
            self.dismiss(answer)

    def action_leave(self) -> None:
        """Cancel without an answer."""
        self.dismiss(None)


class Confirm(ModalScreen[Proposal | None]):
    """Yes or no; only `y` means yes. Then the reason, where the act has one: Enter sends it."""

    CSS_PATH = "dialogs.tcss"
    AUTO_FOCUS = ""  # the reason is typed after the yes
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "yes", "Yes"),
        Binding("n,escape", "no", "No"),
    ]

    def __init__(self, act: Proposal) -> None:
        super().__init__()
        self._act = act

    def compose(self) -> ComposeResult:
        """The question."""
        with Vertical(classes="dialog"):
            yield Facts(self._act.question)
            yield Input(placeholder="why? (for the audit log)", max_length=MAX_CHARS)
            yield Facts("y = yes · n = no", id="how")

    def on_mount(self) -> None:
        """No reason yet."""
        self.query_one(Input).display = False

    def action_yes(self) -> None:
        """Accept, or ask for the reason."""
        if not self._act.has_reason:
            self.dismiss(self._act)
            return
        reason = self.query_one(Input)
        reason.display = True
        reason.focus()
        self.query_one("#how", Facts).show("Enter = do it · Esc = no")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Accept with this reason."""
        self.dismiss(self._act.because(event.value.strip()))

    def action_no(self) -> None:
        """Leave everything as it is."""
        self.dismiss(None)


@dataclass(frozen=True, slots=True)
class Entry:
    """An act in the list of acts."""

    id: str
    key: str
    label: str
    help: str
    refusal: str
    """Why it cannot be done; empty = it can."""


class Acts(ModalScreen[str | None]):
    """The acts on one subject: the key of one, or Enter on it, does it."""

    CSS_PATH = "dialogs.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,a", "leave", "Leave")]

    def __init__(self, of: str, entries: Sequence[Entry]) -> None:
        super().__init__()
        self._of, self._entries = of, entries

    def compose(self) -> ComposeResult:
        """One line an act."""
        with Vertical(classes="dialog wide acts"):
            keys = max((len(key_names(one.key)) for one in self._entries), default=0)
            labels = max((len(one.label) for one in self._entries), default=0)
            lines = [
                Option(_act_line(one, keys, labels), id=one.id, disabled=bool(one.refusal))
                for one in self._entries
            ]
            yield OptionList(*lines, markup=False)

    def on_mount(self) -> None:
        """Say what they are on."""
        self.query_one(Vertical).border_title = Content(visible_line(self._of))

    def on_key(self, event: Key) -> None:
        """The key of an act."""
        pressed = {event.key, event.character}
        for one in self._entries:
            if pressed & set(one.key.split(",")) and not one.refusal:
                event.stop()
                self.dismiss(one.id)
                return

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Enter, or a click."""
        self.dismiss(event.option_id)

    def action_leave(self) -> None:
        """Do nothing."""
        self.dismiss(None)


def _act_line(one: Entry, key_cells: int, label_cells: int) -> Content:
    keys, label = f"{key_names(one.key):<{key_cells}}", f"{one.label:<{label_cells}}"
    text = f"{keys}  {label}  {one.refusal or one.help}"
    return Content(visible_line(text))


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
