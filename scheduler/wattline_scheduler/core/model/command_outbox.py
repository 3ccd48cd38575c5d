"""Commands to nodes: resent until acknowledged, replaced by newer ones with the same key.

A command exists only for an adopted incarnation. The next Hello voids all of them (I8), and those
still needed are issued again from the state, not from a memory of what was sent.
"""

from collections.abc import Callable
from itertools import islice

from wattline_protocol.ids import Epoch, Incarnation, Now, Sequence, TaskRef
from wattline_protocol.wire.agent_messages import (
    AgentCommand,
    CommandDone,
    ForgetTask,
    LeaseTask,
    LimitTask,
    NotifyTask,
    PauseTask,
    ResumeTask,
    StartTask,
    StopTask,
)
from wattline_protocol.wire.agents.data_messages import (
    CheckpointsToStore,
    DataToHold,
    HoldData,
    OutputToPublish,
)
from wattline_protocol.wire.task_order import Notice, NoticeKind, TaskOrder
from wattline_scheduler.core.model.events import TICK_PERIOD_S
from wattline_scheduler.core.model.node import CommandKey, NodeNow, Outstanding
from wattline_scheduler.core.model.state import State

MAX_OUTSTANDING = 256
"""Maximum number of outstanding task commands of a node; with so many it gets no new tasks."""

RESEND_PER_TICK = 64
"""Maximum number of commands resent to a node in one tick, oldest first: spares slow nodes."""

LEASE_KEY: CommandKey = ("lease", None)

Make = Callable[[Epoch, Incarnation, Sequence], AgentCommand]


def next_seq(node: NodeNow) -> Sequence:
    """A sequence number never used before in this epoch."""
    node.last_seq = Sequence(node.last_seq + 1)
    return node.last_seq


def order(state: State, node: NodeNow, key: CommandKey, make: Make, now: Now) -> None:
    """Sends a command now and again until it is acknowledged. A node not adopted gets none."""
    if not node.is_adopted:
        return
    drop(node, key)
    seq = next_seq(node)
    command = make(state.epoch, node.incarnation, seq)
    node.outbox[key] = Outstanding(command, now.mono_s, now.mono_s)
    node.names[seq] = key
    _note_full(node)
    state.journal.send(node.id, command)


def order_data(
    state: State,
    node: NodeNow,
    versions: tuple[DataToHold, ...],
    dropped: tuple[str, ...],
    outputs: tuple[OutputToPublish, ...],
    to_store: tuple[CheckpointsToStore, ...],
    now: Now,
) -> None:
    """The whole lists: the newest count."""
    lists = (versions, dropped, to_store, outputs)
    order(state, node, ("data", None), lambda e, i, s: HoldData(e, i, s, *lists), now)


def order_start(state: State, node: NodeNow, task: TaskOrder, now: Now) -> None:
    order(state, node, ("start", task.ref), lambda e, i, s: StartTask(e, i, s, task), now)


def order_stop(
    state: State,
    node: NodeNow,
    ref: TaskRef,
    grace_s: float,
    why: str,
    now: Now,
    what: NoticeKind = "stop",
) -> None:
    """Also withdraws all other commands for the attempt."""
    for verb in ("start", "pause", "resume", "limit", "notify", "task_lease"):
        drop(node, (verb, ref))
    if ("stop", ref) not in node.outbox:
        make: Make = lambda e, i, s: StopTask(e, i, s, ref, grace_s, why, what)  # noqa: E731 - typed
        order(state, node, ("stop", ref), make, now)


def order_pause(
    state: State, node: NodeNow, ref: TaskRef, kill_after_s: float, why: str, now: Now
) -> None:
    drop(node, ("resume", ref))
    if ("pause", ref) not in node.outbox:
        make: Make = lambda e, i, s: PauseTask(e, i, s, ref, kill_after_s, why)  # noqa: E731 - typed
        order(state, node, ("pause", ref), make, now)


def order_resume(state: State, node: NodeNow, ref: TaskRef, now: Now) -> None:
    drop(node, ("pause", ref))
    if ("resume", ref) not in node.outbox:
        order(state, node, ("resume", ref), lambda e, i, s: ResumeTask(e, i, s, ref), now)


def order_limit(
    state: State, node: NodeNow, ref: TaskRef, runtime_limit_s: float, now: Now
) -> None:
    """Replaces an outstanding one: the newest counts."""
    make: Make = lambda e, i, s: LimitTask(e, i, s, ref, runtime_limit_s)  # noqa: E731 - typed
    order(state, node, ("limit", ref), make, now)


def order_notify(
    state: State, node: NodeNow, ref: TaskRef, notice: Notice | None, now: Now
) -> None:
    """Replaces an outstanding one: the newest counts."""
    in_s = 0.0 if notice is None else max(0.0, notice.at_unix_s - now.unix_s)
    make: Make = lambda e, i, s: NotifyTask(e, i, s, ref, notice, in_s)  # noqa: E731 - typed
    order(state, node, ("notify", ref), make, now)


def order_lease(state: State, node: NodeNow, ref: TaskRef, now: Now) -> None:
    if ("task_lease", ref) not in node.outbox:
        order(state, node, ("task_lease", ref), lambda e, i, s: LeaseTask(e, i, s, ref), now)


def order_forget(state: State, node: NodeNow, ref: TaskRef, now: Now) -> None:
    """Only once the attempt's end was saved."""
    if ("forget", ref) not in node.outbox:
        order(state, node, ("forget", ref), lambda e, i, s: ForgetTask(e, i, s, ref), now)


def drop(node: NodeNow, key: CommandKey) -> None:
    """Removes a command from the outbox, if it is outstanding."""
    old = node.outbox.pop(key, None)
    if old is not None:
        node.names.pop(old.command.seq, None)
        _note_full(node)


def _note_full(node: NodeNow) -> None:
    """Updates the offer at the maximum, above which the planner places no tasks on the node."""
    if len(node.names) in (MAX_OUTSTANDING - 1, MAX_OUTSTANDING):
        node.outdate_offer()


def drop_all(node: NodeNow) -> None:
    """Removes all commands of a superseded incarnation."""
    node.outbox.clear()
    node.names.clear()
    node.outdate_offer()


def answered(node: NodeNow, done: CommandDone) -> tuple[CommandKey, AgentCommand] | None:
    """Removes and returns the outstanding command that `done` answers; None if there is none."""
    key = node.names.get(done.seq)
    if key is None:
        return None
    command = node.outbox[key].command
    drop(node, key)
    return key, command


def resend(state: State, node: NodeNow, now: Now) -> None:
    """Resends commands not acknowledged for a tick; none to a silent node."""
    if not node.outbox or not node.is_reachable:
        return
    due = (
        out for out in node.outbox.values() if now.mono_s - out.last_sent >= TICK_PERIOD_S * 0.99
    )
    for out in list(islice(due, RESEND_PER_TICK)):
        out.last_sent = now.mono_s
        state.journal.send(node.id, out.command)
