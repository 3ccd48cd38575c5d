"""What a group of jobs waits for until enough of its nodes have its data, in words."""

from collections.abc import Sequence

from wattline_protocol.ids import NodeId
from wattline_protocol.text.wording import about_size, counted, listed
from wattline_protocol.wire.agents.data_messages import DataHeld
from wattline_scheduler.core.admission.staging import Place
from wattline_scheduler.core.lifecycle.data.data_groups import Group
from wattline_scheduler.core.model.state import State

NAMED = 2
"""Fetches named in one reason."""


def note_gate(
    state: State, group: Group, places: Sequence[Place], chosen: Sequence[NodeId]
) -> None:
    """Bars the jobs until enough of their nodes have all of their data."""
    ready = sum(group.is_ready_on(state.nodes[place.node]) for place in places)
    is_ready = ready >= group.key.shape.nodes
    why = "" if is_ready else _why(state, group, places, chosen)
    for job in group.jobs:
        if bool(why) != bool(job.unstaged):
            job.unstaged = why
            state.work.requeue(job)
            state.wants_plan = True
        job.unstaged = why


def _why(state: State, group: Group, places: Sequence[Place], chosen: Sequence[NodeId]) -> str:
    if group.resume.is_bound and not places:
        return _bound(state, group)
    if not chosen:
        return _no_room(state, group, places)
    texts: dict[str, None] = {}
    for name, version in group.fetched.items():
        for node in chosen:
            data = state.nodes[node].data
            if not data.is_ready(version.sha256):
                texts[_progress(name, node, data.held.get(version.sha256))] = None
    more = f"; and {len(texts) - NAMED} more" if len(texts) > NAMED else ""
    return "; ".join([*texts][:NAMED]) + more + _from_scratch_hint(state, group, chosen)


def _from_scratch_hint(state: State, group: Group, chosen: Sequence[NodeId]) -> str:
    """The command that starts a job whose checkpoint no node could fetch."""
    stored = group.resume.stored
    held = (
        [] if stored is None else [state.nodes[one].data.held.get(stored.sha256) for one in chosen]
    )
    has_failed = any(one is not None and one.state == "waiting" and one.detail for one in held)
    job = group.jobs[0].id
    return f" (wattline requeue --from-scratch {job} starts it without)" if has_failed else ""


def _bound(state: State, group: Group) -> str:
    home, job = state.nodes[group.resume.home], group.jobs[0]
    report = home.data.stored.get(job.id)
    why = f": {report.detail}" if report is not None and report.detail else ""
    text = f"{home.id} has checkpoints of it that are not in the store yet{why}"
    return f"{text} (wattline requeue --from-scratch {job.id} gives them up)"


def _progress(name: str, node: NodeId, held: DataHeld | None) -> str:
    if held is not None and held.state in ("waiting", "failed") and held.detail:
        return f"{name} is not on {node} yet: {held.detail}"
    done = 0.0 if held is None or not held.total_bytes else held.done_bytes / held.total_bytes
    return f"fetching {name}: {int(100 * done)} % on {node}"


def _no_room(state: State, group: Group, places: Sequence[Place]) -> str:
    names = listed(list(group.fetched)) or "its checkpoints"
    size = about_size(sum(version.bytes for version in group.fetched.values()))
    errors = sorted({node.data.error for node in state.nodes.values() if node.data.error})
    if places:
        return f"no node has room for {names} ({size}) beside data in use"
    if errors:
        return f"no node can hold {names}: {errors[0]}"
    nodes = counted(group.key.shape.nodes, "node")
    return f"waits for {nodes} that can hold {names} ({size})"
