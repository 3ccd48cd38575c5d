"""The agent's shell: one thread, one poll loop; events in, effects out, in order.

It decides nothing. It samples when a beat is due, passes in what sockets, keeper and driver report,
and executes each effect before the next. The result of an effect is passed in before any other
input.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence

import zmq

from wattline_agent.core.durable import UsageState
from wattline_agent.core.effects import (
    ApplyCaps,
    ChangeSecret,
    Drop,
    DropSpooled,
    Effect,
    FindPrivileged,
    Freeze,
    GrantTaskLease,
    HoldVersions,
    Kill,
    Launch,
    Limit,
    LockClocks,
    Note,
    Notify,
    OnTerminal,
    ReadCaps,
    ReadSpool,
    RenewTaskLeases,
    RestoreCaps,
    SaveState,
    SaveUsage,
    Send,
    SendLog,
    SendRecord,
    Spool,
    Stacks,
    Stop,
    Thaw,
    WouldCap,
)
from wattline_agent.core.events import (
    CapsRead,
    ClocksLocked,
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
from wattline_agent.core.node import Node
from wattline_agent.core.ports import (
    Collector,
    FastReading,
    HostSensors,
    LaunchContext,
    Reading,
    TaskRunner,
    TaskSeen,
)
from wattline_agent.core.start import SETTLE_WAIT_S
from wattline_agent.executor.owners import ForeignProcesses, use_by_attempt
from wattline_agent.fetch_link import FetchLink
from wattline_agent.keeper_link import KeeperLink
from wattline_agent.link import SchedulerLink
from wattline_agent.logs import Log
from wattline_agent.secrets.intake import Intake
from wattline_agent.spool import RollupSpool
from wattline_agent.statefile import StateDir
from wattline_agent.terminals.terminals import Terminals
from wattline_protocol.data.secrets import DropSecret, SecretDone, StoreSecret
from wattline_protocol.ids import GpuIndex, Instant, Now, TaskRef, UnixTime
from wattline_protocol.site.wall_power import PERMILLE
from wattline_protocol.wire.agent_messages import LogChunk
from wattline_protocol.wire.gpu_process import GpuProcess
from wattline_protocol.wire.task_order import TaskOrder
from wattline_protocol.wire.task_reports.run_records import RecordRead

TICK_S = 0.2
"""Deadlines are met within this."""
SAMPLE_TIMEOUT_S = 0.3
CAPS_TIMEOUT_S = 1.0
"""A GPU that has not answered by then counts as not capped."""
USAGE_GAP_S = 0.5
"""Minimum interval of saving usage: replacing a file costs the disk some milliseconds each time. A
crash in between books the energy of that interval to the next task."""
SCAN_PERIOD_S = 3.0
"""Interval of listing the processes of all GPUs: a call that takes the driver milliseconds and
delays other calls."""
KEEPER_PATIENCE_S = 10.0
"""How long no keeper may answer before that is a problem: one that died is replaced sooner."""
SECRETS_PERIOD_S = 10.0
"""Interval of reading which entries of secrets there are: operators may write them by hand."""
EXTRA_SAMPLE_S = 0.25
"""When a task ends, the GPUs are sampled first if the last sample is older than this, so that its
usage is complete."""


def now() -> Now:
    """The clocks of the core: CLOCK_BOOTTIME counts suspended time (see `ports`)."""
    return Now(Instant(time.clock_gettime(time.CLOCK_BOOTTIME)), UnixTime(time.time()))


Order = (
    Stop | Notify | Freeze | Stacks | Thaw | Limit | Kill | Drop | GrantTaskLease | RenewTaskLeases
)
"""Orders to the keeper about running attempts."""


class Shell:
    """Executes the core's effects and returns the resulting events to it."""

    def __init__(
        self,
        node: Node,
        *,
        collector: Collector,
        sensors: HostSensors,
        keeper_link: KeeperLink,
        fetch_link: FetchLink,
        files: StateDir,
        spool: RollupSpool,
        link: SchedulerLink,
        secrets: Intake,
        terminals: Terminals,
        log: Log,
    ) -> None:
        self.node = node
        self._collector = collector
        self._sensors = sensors
        self._keeper_link = keeper_link
        self._fetch_link = fetch_link
        self._files = files
        self._spool = spool
        self._link = link
        self._secrets = secrets
        self._terminals = terminals
        self._keeper_seen_s = time.monotonic()
        self._secrets_due_s = 0.0
        self._secret_orders: deque[StoreSecret | DropSecret] = deque()
        """One is carried out in a turn: the syncs of many must not delay a lease."""
        self._log = log
        self._events: deque[Event] = deque()
        self._launches: list[tuple[TaskOrder, LaunchContext]] = []
        """Attempts the keeper is to start, in one batch."""
        self._driver_instance = collector.driver_instance()
        self._infos = collector.gpus()
        self._ended: frozenset[TaskRef] = frozenset()
        self._first: dict[int, TaskRef] = {}
        """Attempts by their first process."""
        self._has_ordered = False
        """The keeper received an order whose result it does not notify: query it."""
        self._usage: UsageState | None = None
        """Not saved yet."""
        self._usage_saved_s = 0.0
        self._sampled_s = 0.0
        self._sample_due_s = 0.0
        self._scan_due_s = 0.0
        self._strangers = ForeignProcesses()
        self._tick_due_s = 0.0
        self._poller = zmq.Poller()
        self._poller.register(link.socket.socket, zmq.POLLIN)
        self._poller.register(link.socket.monitor, zmq.POLLIN)

    # --- events -------------------------------------------------------------------------

    def handle(self, *events: Event) -> None:
        """Handle events that arrived together; execute their effects, and handle the events that
        result."""
        self._events.extend(events)
        while self._events:
            together = tuple(self._events)
            self._events.clear()
            for effect in self.node.handle_all(together, now()):
                self._carry_out(effect)
            self._launch()

    def start(self, started: Started) -> None:
        """The first event."""
        self._ended = _ended(started.tasks)
        self._first = _first(started.tasks)
        self.handle(started)

    def run(self, wake_fd: int, is_asked_to_stop: Callable[[], bool]) -> None:
        """Run until a stop is requested and GPUs whose limits are to be restored have settled.

        `wake_fd` becomes readable on the request. Raises StateUnusable.
        """
        while not is_asked_to_stop():
            self._turn(wake_fd)
        until_s = time.monotonic() + SETTLE_WAIT_S
        while not self.node.is_settled and time.monotonic() < until_s:
            self._turn()

    def _turn(self, wake_fd: int | None = None) -> None:
        self._wait(wake_fd)
        for change in self._link.changes():
            self.handle(change)
        messages = [SchedulerMessage(message) for message in self._link.received()]
        if messages:
            self.handle(*messages)
        for done in self._terminals.answers():
            self._link.send(done)
        if self._has_ordered:
            self._observe_tasks()
        self._do_due()

    def stop(self) -> None:
        """Send Farewell and stop."""
        self.handle(StopAsked())
        self._save_usage()
        self._keeper_link.end_if_idle()

    def _wait(self, wake_fd: int | None) -> None:
        keeper_fd, fetch_fd = self._keeper_link.fileno(), self._fetch_link.fileno()
        watched = [fd for fd in (wake_fd, keeper_fd, fetch_fd) if fd is not None]
        watched += self._terminals.watched()
        for fd in watched:
            self._poller.register(fd, zmq.POLLIN)
        ready = dict(self._poller.poll(max(0, math.ceil(self._idle_s() * 1000))))
        for fd in watched:
            self._poller.unregister(fd)
        if keeper_fd is not None and keeper_fd in ready:
            self._observe_tasks()
        if fetch_fd is not None and fetch_fd in ready:
            self.handle(*self._fetch_link.reports())
        self._terminals.receive(ready)

    def _idle_s(self) -> float:
        """Time until something is due."""
        if self._secret_orders:
            return 0.0
        until_s = min(self._sample_due_s, self._tick_due_s) - time.monotonic()
        due_s, answer_s = self.node.due_s, self._terminals.due_in_s()
        until_s = until_s if answer_s is None else min(until_s, answer_s)
        return until_s if due_s is None else min(until_s, due_s - now().mono_s)

    def _is_news_due(self) -> bool:
        due_s = self.node.due_s
        return due_s is not None and now().mono_s >= due_s

    def _do_due(self) -> None:
        mono_s = time.monotonic()
        if self._is_news_due():
            self._observe_tasks()  # report the current phase of launched attempts
        if mono_s >= self._tick_due_s or self._is_news_due():
            self._tick_due_s = mono_s + TICK_S
            self.handle(*self._fetch_link.tick(), TimePassed())
        if self._secret_orders:
            self._change_secret(self._secret_orders.popleft())
        elif mono_s >= self._secrets_due_s:
            self._secrets_due_s = mono_s + SECRETS_PERIOD_S
            self._find_secrets()
        if mono_s >= self._sample_due_s:
            period_s = self.node.beat_period_s
            self._sample_due_s = max(self._sample_due_s + period_s, mono_s + period_s / 2)
            self._observe_tasks()
            self._sample()
        if mono_s >= self._usage_saved_s + USAGE_GAP_S:
            self._save_usage()

    def _change_secret(self, order: StoreSecret | DropSecret) -> None:
        error = self._secrets.carry_out(order)
        self._find_secrets()  # before the answer: its client may rely on the names
        self._link.send(SecretDone(order.request, error))
        what, name = type(order).__name__, f"{order.user}/{order.entry}"
        self._log.info("secret_changed", order=what, name=name, error=error)

    def _find_secrets(self) -> None:
        found = self._secrets.find()
        event = SecretsFound(found.names, found.problems)
        if event != self.node.state.secrets:
            self.handle(event)

    def _save_usage(self) -> None:
        if self._usage is not None:
            self._files.save_usage(self._usage)
            self._usage, self._usage_saved_s = None, time.monotonic()

    def _observe_tasks(self) -> None:
        self._has_ordered = False
        tasks = self._keeper_link.observe()
        if tasks is None:
            self._miss_keeper()
            return
        self._keeper_seen_s = time.monotonic()
        ended = _ended(tasks)
        if ended - self._ended and time.monotonic() - self._sampled_s > EXTRA_SAMPLE_S:
            self._sample()
        self._ended = ended
        self._first = _first(tasks)
        self.handle(TasksSeen(tasks))

    def _miss_keeper(self) -> None:
        is_reported = self.node.state.is_keeper_silent
        if not is_reported and time.monotonic() > self._keeper_seen_s + KEEPER_PATIENCE_S:
            self._log.error("keeper_silent", seconds=KEEPER_PATIENCE_S)
            self.handle(KeeperSilent())

    def _sample(self) -> None:
        readings = self._collector.sample(SAMPLE_TIMEOUT_S)
        self._sampled_s = time.monotonic()
        instance, infos = self._collector.driver_instance(), self._collector.gpus()
        if instance != self._driver_instance or infos != self._infos:
            self._driver_instance, self._infos = instance, infos
            self._scan_due_s = 0.0
            self.handle(DriverReloaded(instance, infos))
            readings = self._collector.sample(SAMPLE_TIMEOUT_S)
        events = self._collector.events()
        if events:
            self.handle(DeviceReported(events))
        gpu_mw = sum(r.power_mw or 0 for r in readings if isinstance(r, FastReading))
        terms = self.node.state.file.terms
        efficiency = terms.psu_efficiency_permille if terms is not None else PERMILLE
        host = HostRead(self._sensors.read(gpu_mw, efficiency))
        foreign = self._foreign(self._gpus_to_scan(readings))
        self.handle(host, Sampled(readings, self._use(), foreign))

    def _gpus_to_scan(self, readings: Sequence[Reading]) -> frozenset[GpuIndex]:
        """All GPUs periodically; at once those with a new foreign draw."""
        mono_s = time.monotonic()
        if mono_s < self._scan_due_s:
            return self.node.unexplained_gpus(readings)
        self._scan_due_s = mono_s + SCAN_PERIOD_S
        return self.node.managed_gpus

    def _foreign(self, gpus: Collection[GpuIndex]) -> dict[GpuIndex, tuple[GpuProcess, ...]]:
        """Processes on these GPUs that belong to no attempt; GPUs that do not answer are
        omitted."""
        if not gpus:
            return {}
        keeper, held = self._keeper_link.pid, self.node.held_gpus
        roots = {*self._first, *((keeper,) if keeper is not None else ())}
        listed = self._collector.processes(gpus, SAMPLE_TIMEOUT_S)
        return {
            gpu: self._strangers.of(gpu, processes, roots, is_held=gpu in held)
            for gpu, processes in listed.items()
        }

    def _use(self) -> dict[GpuIndex, dict[TaskRef, int]]:
        """Utilisation per attempt of shared GPUs."""
        shared = self.node.shared_gpus
        if not shared:
            return {}
        found = self._collector.process_use(shared, SAMPLE_TIMEOUT_S)
        return {gpu: use_by_attempt(percent, self._first) for gpu, percent in found.items()}

    # --- effects ------------------------------------------------------------------------

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Send(message):
                self._link.send(message)
            case ApplyCaps(generation, caps, scan):
                results = self._collector.apply_caps(caps, CAPS_TIMEOUT_S)
                self._events.append(CapsRead(generation, results, self._foreign(scan)))
            case ReadCaps(generation):
                results = self._collector.read_caps(CAPS_TIMEOUT_S)
                self._events.append(CapsRead(generation, results))
            case LockClocks(ceilings):
                done = self._collector.lock_clocks(ceilings, CAPS_TIMEOUT_S)
                self._events.append(ClocksLocked(done))
                self._log.info("clocks_locked", ceilings_mhz=dict(ceilings))
            case RestoreCaps(caps):
                self._collector.apply_caps(caps, CAPS_TIMEOUT_S)
                self._log.info("caps_restored", gpus=len(caps))
            case SaveState(state):
                self._files.save_state(state)
            case SaveUsage(usage):
                self._usage = usage
            case Spool(rollup):
                self._spool.append(rollup)
            case ReadSpool():
                self._events.append(SpoolRead(*self._spool.oldest()))
            case DropSpooled(last):
                self._spool.drop(last)
            case FindPrivileged():
                self._events.append(PrivilegedFound(self._keeper_link.privileged()))
            case HoldVersions(order):
                self._fetch_link.order(order)
            case SendLog():
                self._send_log(effect)
            case SendRecord(request, ref):
                parts = self._keeper_link.read_record(ref)
                self._link.send(RecordRead(request, parts.report, parts.inventory, parts.error))
            case ChangeSecret(order):
                self._secret_orders.append(order)
            case OnTerminal(terminal_order):
                self._terminals.carry_out(terminal_order)
            case WouldCap(caps_mw, holding_mw):
                watts = [mw / 1000 for mw in caps_mw]
                self._log.info("would_cap", caps_w=watts, holding_w=holding_mw / 1000)
            case Note(event, text):
                self._log.info(event, text=text)
            case _:
                self._order(effect)

    def _order(self, effect: Launch | Order) -> None:
        if isinstance(effect, Launch):
            self._launches.append((effect.order, effect.context))
            self._log.info("task_launched", ref=str(effect.order.ref), gpus=effect.order.gpus)
            return
        self._launch()  # first: this order may concern one of them
        if not isinstance(effect, RenewTaskLeases | Drop):
            self._log.info("task_ordered", order=type(effect).__name__, ref=str(effect.ref))
            self._has_ordered = True
        self._keeper_link.do(lambda runner: _execute(runner, effect))

    def _launch(self) -> None:
        if self._launches:
            launches, self._launches = tuple(self._launches), []
            self._keeper_link.do(lambda runner: runner.launch_all(launches))

    def _send_log(self, wanted: SendLog) -> None:
        piece = self._keeper_link.read_log(
            wanted.ref, wanted.offset, wanted.limit_bytes, wanted.local_rank
        )
        self._link.send(
            LogChunk(wanted.request, piece.data, piece.next_offset, piece.at_end, piece.error)
        )


def _execute(runner: TaskRunner, effect: Order) -> None:
    match effect:
        case Stop(ref, grace_s, why, kind):
            runner.stop(ref, grace_s, why, kind)
        case Notify(ref, notice):
            runner.notify(ref, notice)
        case Freeze(ref):
            runner.freeze(ref)
        case Stacks(ref):
            runner.dump_stacks(ref)
        case Thaw(ref):
            runner.thaw(ref)
        case Limit(ref, runtime_limit_s):
            runner.limit(ref, runtime_limit_s)
        case Kill(ref, kind, why):
            runner.kill(ref, kind, why)
        case Drop(ref):
            runner.drop(ref)
        case GrantTaskLease(ref, until_mono_s):
            runner.grant_lease(ref, until_mono_s)
        case RenewTaskLeases(until_mono_s):
            runner.renew(until_mono_s)


def _ended(tasks: Iterable[TaskSeen]) -> frozenset[TaskRef]:
    return frozenset(task.ref for task in tasks if task.phase == "ended")


def _first(tasks: Iterable[TaskSeen]) -> dict[int, TaskRef]:
    alive = (task for task in tasks if task.phase != "ended")
    return {task.pid: task.ref for task in alive if task.pid is not None}
