"""Every key of the terminal: bindings, command palette, footer and help come from this table."""

from dataclasses import dataclass
from typing import Literal

from textual.binding import Binding

from wattline_protocol.text.wording import joined

Place = Literal["everywhere", "overview", "accounts", "reservations", "services", "node", "job"]


@dataclass(frozen=True, slots=True)
class Action:
    """One act of a user. `id` is stable, so that keys can be remapped by it."""

    id: str
    keys: str
    label: str
    help: str
    place: Place
    in_footer: bool = True


ACTIONS = (
    Action("help", "question_mark,f1", "Help", "Show all keys and the glossary", "everywhere"),
    Action("quit", "q", "Quit", "Leave the terminal; the site continues", "everywhere"),
    Action(
        "problems",
        "exclamation_mark",
        "Problems",
        "List open alarms and warnings with their remedies",
        "everywhere",
        in_footer=False,
    ),
    Action("back", "escape", "Back", "Go back", "everywhere", in_footer=False),
    Action("open", "enter", "Open", "Open the selected node or job", "overview"),
    Action("accounts", "a", "Accounts", "Show shares, use and quotas of accounts", "overview"),
    Action(
        "reservations",
        "v",
        "Reserved",
        "Show reservations: nodes, users, times",
        "overview",
    ),
    Action("services", "i", "Services", "Show replicas, SLO, watts, joules", "overview"),
    Action("heat", "t", "Heat", "Show GPU power or temperature", "overview"),
    Action("ended", "e", "Ended", "Show or hide ended jobs", "overview", in_footer=False),
    Action("shed", "s", "Shed", "Lower a domain's budget, e.g. 25% or 40kW", "overview"),
    Action("restore", "r", "Restore", "Restore all lowered budgets", "overview"),
    Action("drain", "d", "Drain", "Drain or undrain the selected node", "overview"),
    Action(
        "open_waiting",
        "enter",
        "Open job",
        "Open the oldest job pending for this quota",
        "accounts",
    ),
    Action(
        "open_inside",
        "enter",
        "Open job",
        "Open the first job running on these nodes",
        "reservations",
    ),
    Action("open_revision", "enter", "Open job", "Open the job that serves", "services"),
    Action("drain_node", "d", "Drain", "Drain or undrain this node", "node"),
    Action("hold", "h", "Hold", "Hold or release this job", "job"),
    Action("cancel", "c", "Cancel", "Cancel this job", "job"),
    Action("requeue", "r", "Requeue", "Requeue this job", "job"),
    Action("priority", "p", "Priority", "Change this job's priority", "job"),
    Action(
        "explain",
        "x",
        "Explain",
        "Explain why this job is pending, and until when",
        "job",
        in_footer=False,
    ),
    Action("follow", "f", "Follow", "Follow the log, or stop following", "job"),
    Action("next_task", "n", "Next task", "Show the log of the job's next task", "job"),
)


def bindings(place: Place) -> list[Binding | tuple[str, str] | tuple[str, str, str]]:
    """Textual bindings of one place."""
    return [
        Binding(a.keys, a.id, a.label, show=a.in_footer, id=a.id, tooltip=a.help)
        for a in ACTIONS
        if a.place == place
    ]


_KEY_NAMES = {
    "question_mark": "?",
    "exclamation_mark": "!",
    "escape": "Esc",
    "enter": "Enter",
    "f1": "F1",
}


def key_names(action: Action) -> str:
    """The names of the keys, for display."""
    return joined([_KEY_NAMES.get(key, key) for key in action.keys.split(",")], "or")
