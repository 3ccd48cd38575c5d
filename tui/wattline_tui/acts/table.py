"""Every act on the site: key, object, role, what is typed for it, and what it proposes.

Keys, the list of acts and help derive from this table.
"""

import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from wattline_protocol.ids import DomainId, JobId, NodeId
from wattline_protocol.site.model import Role
from wattline_protocol.text.wording import listed
from wattline_protocol.views.site_views import DomainView
from wattline_protocol.wire.client_messages import ROLE_RANK
from wattline_tui.acts import on_budgets, on_jobs, on_nodes, on_problems
from wattline_tui.acts.orders import parse_grid_event, parse_reserve, parse_shed
from wattline_tui.acts.proposal import Proposal
from wattline_tui.model import View

On = Literal["job", "node", "GPU", "reservation", "domain", "grid event", "problem"]

Keys = tuple[str, ...]
Propose = Callable[[View, Keys, str], Proposal]
"""From the view, the names of the objects and what was typed. Raises ValueError: why not."""


@dataclass(frozen=True, slots=True)
class Question:
    """What has to be typed for an act."""

    text: str
    hint: str


def _nothing(_view: View, _keys: Keys) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Act:
    """One act. `id` is stable, so that its key can be remapped by it."""

    id: str
    key: str
    label: str
    help: str
    on: On
    propose: Propose
    role: Role = "operator"
    """The least that it requires; "submitter": on jobs of one's own."""
    ask: Callable[[View, Keys], Question | None] = _nothing
    is_of_site: bool = False
    """Without an object it is about the whole site, or asks for the object."""
    within: On | None = None
    """On this, which contains objects of it, it asks for the object."""


def _jobs(keys: Sequence[str]) -> list[JobId]:
    return [JobId(int(key)) for key in keys]


def _nodes(keys: Sequence[str]) -> list[NodeId]:
    return [NodeId(key) for key in keys]


def _domains(view: View) -> tuple[DomainView, ...]:
    return view.site.domains if view.site else ()


def _given(keys: Sequence[str]) -> str | None:
    return keys[0] if keys else None


def _typed(text: str, hint: str) -> Callable[[View, Keys], Question]:
    return lambda _view, _keys: Question(text, hint)


def _off_name(view: View, keys: Keys) -> Question | None:
    """The name of a node that the scheduler cannot switch: whoever types it vouches for it."""
    node = view.node(NodeId(keys[0]))
    is_asked = node is not None and node.state != "off" and len(keys) == 1
    if not is_asked or on_nodes.is_switchable(view, keys[0]):
        return None
    return Question(f"Does {keys[0]} draw no power? It cannot be asked. Type its name.", keys[0])


def _which_gpu(_view: View, keys: Keys) -> Question | None:
    """None: its place is known already."""
    if all("/" in key for key in keys):
        return None
    return Question("Which GPU of the node? Its index.", "3")


def _cordon(view: View, keys: Keys, typed: str) -> Proposal:
    if not typed:
        return on_nodes.cordon_or_uncordon(view, keys)
    if len(keys) != 1:
        raise ValueError("select one node: a GPU belongs to one node")
    return on_nodes.cordon_or_uncordon(view, [f"{keys[0]}/{typed}"])


def _which_event(view: View, keys: Keys) -> Question | None:
    """None: it is in focus, or the only one."""
    known = list(on_budgets.open_events(view))
    if keys or len(known) < 2:
        return None
    return Question(f"Which grid event? {listed(known)}", known[0])


def _cancel_grid_event(view: View, keys: Keys, typed: str) -> Proposal:
    return on_budgets.cancel_grid_event(view, typed or (keys[0] if keys else ""))


def _shed(view: View, keys: Keys, typed: str) -> Proposal:
    return on_budgets.shed(view, parse_shed(typed, _domains(view), _given(keys)))


def _set_budget(view: View, keys: Keys, typed: str) -> Proposal:
    return _shed(view, keys, typed if typed.startswith("to ") else f"to {typed}")


def _grid_event(view: View, keys: Keys, typed: str) -> Proposal:
    now_s = view.site.unix_s if view.site else 0.0
    given = parse_grid_event(typed, _domains(view), now_s, _given(keys))
    return on_budgets.grid_event(view, given)


ACTS = (
    Act(
        "cancel",
        "c",
        "Cancel",
        "Cancel jobs",
        "job",
        lambda view, keys, _: on_jobs.cancel(view, _jobs(keys)),
        "submitter",
    ),
    Act(
        "hold",
        "h",
        "Hold, release",
        "Hold jobs, or release them",
        "job",
        lambda view, keys, _: on_jobs.hold_or_release(view, _jobs(keys)),
        "submitter",
    ),
    Act(
        "requeue",
        "r",
        "Requeue",
        "Stop jobs and return them to the queue",
        "job",
        lambda view, keys, _: on_jobs.requeue(view, _jobs(keys), secrets.token_hex(16)),
        "submitter",
    ),
    Act(
        "priority",
        "p",
        "Priority",
        "Change the priority of jobs",
        "job",
        lambda view, keys, typed: on_jobs.priority(view, _jobs(keys), typed),
        "submitter",
        _typed("Priority: low, normal, high, critical, or 0 to 100?", "normal"),
    ),
    Act(
        "drain",
        "d",
        "Drain, undrain",
        "Start nothing new on nodes, or start again",
        "node",
        lambda view, keys, _: on_nodes.drain_or_undrain(view, _nodes(keys)),
    ),
    Act(
        "cordon",
        "u",
        "Cordon, uncordon",
        "Mark GPUs unschedulable, or schedulable again",
        "GPU",
        _cordon,
        ask=_which_gpu,
        within="node",
    ),
    Act(
        "off",
        "o",
        "Off, on",
        "Power nodes off, or declare them off or on",
        "node",
        lambda view, keys, typed: on_nodes.off_or_on(view, _nodes(keys), typed),
        ask=_off_name,
    ),
    Act(
        "reserve",
        "v",
        "Reserve",
        "Reserve nodes for accounts, users or maintenance",
        "node",
        lambda view, keys, typed: on_nodes.reserve(view, _nodes(keys), parse_reserve(typed)),
        ask=_typed("Reserve: name, until when, for whom?", "fans for 4h accounts vision"),
    ),
    Act(
        "unreserve",
        "V",
        "Unreserve",
        "Cancel reservations; jobs in them continue",
        "reservation",
        lambda view, keys, _: on_nodes.unreserve(view, keys),
    ),
    Act(
        "acknowledge",
        "A",
        "Acknowledge",
        "Acknowledge problems, or withdraw that",
        "problem",
        lambda view, keys, _: on_problems.acknowledge(view, keys),
    ),
    Act(
        "shed",
        "S",
        "Shed",
        "Lower a budget by an amount",
        "domain",
        _shed,
        ask=_typed("Lower the budget: how much, how fast, for how long?", "25% over 5m for 3h"),
        is_of_site=True,
    ),
    Act(
        "budget",
        "B",
        "Set budget",
        "Set a lower budget",
        "domain",
        _set_budget,
        ask=_typed("Set the budget to: how much, how fast, for how long?", "450kW over 5m for 3h"),
        is_of_site=True,
    ),
    Act(
        "restore",
        "R",
        "Restore",
        "Restore budgets that an operator has lowered",
        "domain",
        lambda view, keys, _: on_budgets.restore(view, [DomainId(key) for key in keys]),
        is_of_site=True,
    ),
    Act(
        "grid-event",
        "G",
        "Grid event",
        "Announce a lower budget of the grid for a time",
        "domain",
        _grid_event,
        ask=_typed("Grid event: id, how much, from when until when?", "dr-7 25% until 20:00"),
        is_of_site=True,
    ),
    Act(
        "cancel-grid-event",
        "C",
        "Cancel event",
        "Cancel a grid event, planned or in force",
        "grid event",
        _cancel_grid_event,
        ask=_which_event,
        is_of_site=True,
    ),
)


def refusal(act: Act, keys: Collection[str], view: View) -> str:
    """Why it cannot be done on these objects by this role; empty = it can."""
    if not keys and not act.is_of_site:
        return f"{act.label} applies to a {act.on}: select one first"
    me = view.me
    if me is None or ROLE_RANK[me.role] >= ROLE_RANK["operator"]:
        return ""
    if ROLE_RANK[me.role] < ROLE_RANK[act.role]:
        return f"{act.role}s only"
    jobs = view.site.jobs if view.site else ()
    other = next((one for one in jobs if str(one.id) in keys and one.owner != me.user), None)
    if other is not None:
        return f"job {other.id} is {other.owner}'s: operators only"
    return ""
