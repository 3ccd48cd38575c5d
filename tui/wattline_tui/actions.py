"""Every key of the terminal: bindings, command palette, footer and help come from this table."""

from dataclasses import dataclass
from typing import Literal

from textual.binding import Binding

Place = Literal["everywhere", "overview", "accounts", "reservations", "node", "job"]


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
    Action("quit", "q", "Quit", "Leave the terminal; the site runs on", "everywhere"),
    Action(
        "problems",
        "exclamation_mark",
        "Problems",
        "List the alarms and warnings that are open, and what to do",
        "everywhere",
        in_footer=False,
    ),
    Action("back", "escape", "Back", "Go back", "everywhere", in_footer=False),
    Action("open", "enter", "Open", "Open the selected node or job", "overview"),
    Action(
        "accounts", "a", "Accounts", "Show what accounts are due and used, and quotas", "overview"
    ),
    Action(
        "reservations",
        "v",
        "Reserved",
        "Show reservations: nodes, users, times",
        "overview",
    ),
    Action("heat", "t", "Heat", "Show GPU power or temperature", "overview"),
    Action("ended", "e", "Ended", "Show or hide ended jobs", "overview", in_footer=False),
    Action("shed", "s", "Shed", "Lower a domain's budget, e.g. 25% or 40kW", "overview"),
    Action("restore", "r", "Restore", "Restore all lowered budgets", "overview"),
    Action("drain", "d", "Drain", "Drain the selected node, or take it back", "overview"),
    Action(
        "open_waiting",
        "enter",
        "Open job",
        "Open the oldest job that waits for this quota",
        "accounts",
    ),
    Action(
        "open_inside",
        "enter",
        "Open job",
        "Open the first job that runs on these nodes",
        "reservations",
    ),
    Action("drain_node", "d", "Drain", "Drain this node, or take it back", "node"),
    Action("hold", "h", "Hold", "Hold this job, or release it", "job"),
    Action("cancel", "c", "Cancel", "Cancel this job", "job"),
    Action("requeue", "r", "Requeue", "Send this job back to the queue", "job"),
    Action("priority", "p", "Priority", "Change this job's priority", "job"),
    Action(
        "explain", "x", "Explain", "Say why this job waits, and until when", "job", in_footer=False
    ),
    Action("follow", "f", "Follow", "Follow the end of the log, or stop following", "job"),
    Action("next_task", "n", "Next task", "Show the log of the job's next task", "job"),
)


def bindings(place: Place) -> list[Binding | tuple[str, str] | tuple[str, str, str]]:
    """Textual bindings of one place."""
    return [
        Binding(a.keys, a.id, a.label, show=a.in_footer, id=a.id, tooltip=a.help)
        for a in ACTIONS
        if a.place == place
    ]


def key_names(action: Action) -> str:
    """The names of the keys, for display."""
    names = {"question_mark": "?", "escape": "Esc", "enter": "Enter", "f1": "F1"}
    return " or ".join(names.get(key, key) for key in action.keys.split(","))
