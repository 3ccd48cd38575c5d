"""The only entry to a node's state: `Node.handle(event, now) -> effects`, deterministic, no I/O.

`now.mono_s` is CLOCK_BOOTTIME (see `ports`). The shell executes the effects in order and returns
their results as further events. The first event is `Started`.
"""

from collections.abc import Iterable, Sequence
from typing import assert_never

from wattline_agent.core import held_data, start
from wattline_agent.core.durable import AgentState, UsageState
from wattline_agent.core.effects import (
    ChangeSecret,
    DropSpooled,
    Effect,
    OnTerminal,
    Send,
    SendLog,
    SendRecord,
    Stacks,
)
from wattline_agent.core.events import (
    CacheSeen,
    CapsRead,
    ClocksLocked,
    Connected,
    ConnectionLost,
    DeviceReported,
    DriverReloaded,
    Event,
    HostRead,
    KeeperSilent,
    PrivilegedFound,
    Sampled,
    SchedulerMessage,
    SecretsFound,
    SpoolRead,
    Started,
    StopAsked,
    TasksSeen,
    TimePassed,
)
from wattline_agent.core.link import session, telemetry
from wattline_agent.core.model import Facts, NodeState
from wattline_agent.core.ports import Reading
from wattline_agent.core.power import (
    clocks,
    foreign_processes,
    held_watts,
    lease,
    raised_caps,
    steer,
)
from wattline_agent.core.tasks import attempts, commands
from wattline_protocol.data.secrets import DropSecret, StoreSecret
from wattline_protocol.ids import GpuIndex, Now
from wattline_protocol.wire.agent_messages import (
    BeatSeen,
    DumpStacks,
    ForgetTask,
    Lease,
    LeaseTask,
    LimitTask,
    LogChunk,
    NotifyTask,
    PauseTask,
    ReadLog,
    Refused,
    Rehello,
    ResumeTask,
    Rollups,
    RollupsSeen,
    StartTask,
    StopTask,
    ToAgent,
    Welcome,
)
from wattline_protocol.wire.agents.data_messages import HoldData
from wattline_protocol.wire.task_reports.run_records import ReadRecord
from wattline_protocol.wire.task_reports.terminals import TerminalOrder


class Node:
    """The complete state of an agent; changes only through `handle`."""

    def __init__(
        self, facts: Facts, saved: AgentState | None = None, usage: UsageState | None = None
    ) -> None:
        """`saved` and `usage` as read from disk; None = a new node."""
        self.state = NodeState(facts=facts, file=saved or AgentState())
        self._usage = usage

    @property
    def beat_period_s(self) -> float:
        """Interval at which the scheduler requires samples."""
        terms = self.state.file.terms
        return terms.beat_period_s if terms is not None else telemetry.DEFAULT_BEAT_S

    @property
    def shared_gpus(self) -> frozenset[GpuIndex]:
        """GPUs that several living attempts share; the driver reports utilisation per attempt."""
        return held_watts.shared(self.state)

    @property
    def managed_gpus(self) -> frozenset[GpuIndex]:
        """GPUs managed by this agent, whose foreign processes are listed."""
        return frozenset(gpu.index for gpu in self.state.gpus if gpu.is_managed)

    @property
    def held_gpus(self) -> frozenset[GpuIndex]:
        """GPUs allocated to attempts that live or have processes left."""
        held = (a for a in self.state.attempts.values() if a.holds_gpus)
        return frozenset(index for attempt in held for index in attempt.gpus)

    def unexplained_gpus(self, readings: Sequence[Reading]) -> frozenset[GpuIndex]:
        """Idle GPUs without a task that now draw more: their processes are to be listed."""
        return foreign_processes.unexplained(self.state, readings)

    @property
    def holding_mw(self) -> int | None:
        """Wall milliwatts that the limits in force guarantee; None before the first Welcome."""
        return held_watts.holding_mw(self.state, planned=False) if self.state.terms else None

    @property
    def due_s(self) -> float | None:
        """When a report is due even if nothing happens; None = none waits."""
        return attempts.next_news_s(self.state)

    @property
    def is_settled(self) -> bool:
        """A stop need not wait: tasks continue, or no GPU is left to be confirmed idle."""
        return start.is_settled(self.state)

    def handle(self, event: Event, now: Now) -> list[Effect]:
        """Handle one event; returns effects in order."""
        return self.handle_all((event,), now)

    def handle_all(self, events: Iterable[Event], now: Now) -> list[Effect]:
        """Handle events that arrived together; returns the effects of all of them, in order.

        Follow-up steps run once after the last event, because they depend only on the resulting
        state. Eight simultaneous starts thus result in one request to the driver.
        """
        state = self.state
        for event in events:
            if not state.is_started and not isinstance(event, Started):
                raise ValueError(f"{type(event).__name__} before Started")
            self._dispatch(event, now)
        if not state.is_stopping:
            start.save_ceilings(state)
            attempts.meet_deadlines(state, now)
            commands.expire_waiting(state, now)
            raised_caps.step(state, now)
            here = steer.standpoint(state, now)
            session.tick(state, now, here)
            steer.step(state, now, here)
            clocks.step(state, now)
            telemetry.beat_if_wanted(state, now)
            session.report_secrets(state)
            held_data.step(state, now)
        effects, state.out = state.out, []
        return effects

    def _dispatch(self, event: Event, now: Now) -> None:
        state = self.state
        match event:
            case Started():
                start.started(state, event, self._usage, now)
            case Connected():
                session.connected(state, now)
            case ConnectionLost():
                session.lost(state)
            case SchedulerMessage():
                _take(state, event.message, now)
            case Sampled():
                telemetry.sampled(state, event, now)
            case CapsRead():
                steer.caps_read(state, event, now)
            case ClocksLocked():
                clocks.locked(state, event, now)
            case DriverReloaded():
                start.driver_reloaded(state, event, now)
            case DeviceReported():
                telemetry.device_reported(state, event.events, now)
            case KeeperSilent():
                state.is_keeper_silent = True
            case TasksSeen():
                state.is_keeper_silent = False
                attempts.take_seen(state, event.tasks, now)
            case PrivilegedFound():
                raised_caps.judge(state, event.refs, now)
            case HostRead():
                telemetry.host_read(state, event.reading, now)
            case SpoolRead():
                _replay(state, event)
            case SecretsFound():
                state.secrets = event
            case CacheSeen():
                held_data.seen(state, event)
            case TimePassed():
                pass  # deadlines are checked after every event
            case StopAsked():
                start.stop(state)
            case _:
                assert_never(event)


def _take(state: NodeState, message: ToAgent, now: Now) -> None:
    match message:
        case Welcome():
            session.welcomed(state, message, now)
        case Refused():
            session.refused(state, message, now)
        case Rehello():
            session.rehello(state, message, now)
        case RollupsSeen():
            _replayed(state, message, now)
        case ReadLog():
            _read_log(state, message)
        case ReadRecord():
            if state.session.member is not None:
                state.emit(SendRecord(message.request, message.ref))
        case TerminalOrder():
            if state.session.member is not None:
                state.emit(OnTerminal(message))
        case StoreSecret() | DropSecret():
            if state.session.member is not None:
                state.emit(ChangeSecret(message))
        case DumpStacks():
            if session.is_current(state, message.epoch, message.incarnation):
                state.emit(Stacks(message.ref))
        case (
            BeatSeen()
            | Lease()
            | HoldData()
            | StartTask()
            | StopTask()
            | PauseTask()
            | ResumeTask()
            | LimitTask()
            | NotifyTask()
            | LeaseTask()
            | ForgetTask()
        ):
            if session.is_current(state, message.epoch, message.incarnation):
                _obey(state, message, now)
        case _:
            assert_never(message)


def _obey(
    state: NodeState,
    message: BeatSeen | Lease | HoldData | commands.TaskCommand,
    now: Now,
) -> None:
    """Handle a message of this incarnation's own scheduler."""
    match message:
        case BeatSeen():
            session.beat_seen(state, message, now)
        case Lease():
            lease.received(state, message, now)
        case HoldData():
            held_data.received(state, message)
        case _:
            commands.obey(state, message, now)


def _read_log(state: NodeState, message: ReadLog) -> None:
    if state.session.member is None:
        return
    if message.limit_bytes <= 0:
        error = f"limit_bytes is {message.limit_bytes}; it must be above 0"
        state.emit(Send(LogChunk(message.request, b"", message.offset, at_end=True, error=error)))
        return
    state.emit(
        SendLog(
            message.request,
            message.ref,
            message.offset,
            message.limit_bytes,
            message.local_rank,
        )
    )


def _replay(state: NodeState, event: SpoolRead) -> None:
    member = state.session.member
    if event.last == 0 or member is None:
        state.session.is_spool_asked = False
        return
    state.emit(Send(Rollups(member.welcome.incarnation, event.last, event.items)))


def _replayed(state: NodeState, message: RollupsSeen, now: Now) -> None:
    if state.session.is_spool_asked:
        state.emit(DropSpooled(message.last))
        session.ask_spool(state, now)
