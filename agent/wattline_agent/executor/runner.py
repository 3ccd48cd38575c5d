"""TaskRunner over the keeper; manages the attempts' directories."""

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import zmq

from wattline_agent.core.ports import KeeperAbsent, LaunchContext, LogSlice, RecordParts, TaskSeen
from wattline_agent.executor.attempt import Attempt
from wattline_agent.executor.attempt_log import end_in, exit_of, read_log, unstarted
from wattline_agent.executor.cleanup import Cleanup
from wattline_agent.executor.dir_pool import DirPool
from wattline_agent.executor.launch import NotLaunchable, spec_of
from wattline_agent.executor.layout import (
    CHECKPOINTS_DIR,
    ORDERS_FILE,
    OrderFile,
    TaskDir,
    fact_of,
    key_of,
    on_disk,
    read_orders,
    ref_of,
)
from wattline_agent.executor.memory_copies import copies_of
from wattline_agent.executor.mps import find_pipes
from wattline_agent.executor.node_program import NodeProgram
from wattline_agent.executor.notice_file import put_notice, read_notice
from wattline_agent.executor.privileges import privileged_attempts
from wattline_agent.executor.reading_turns import ReadingTurns
from wattline_agent.executor.run_record.node_record import read_parts
from wattline_agent.executor.stack_dumps import dump_stacks
from wattline_agent.executor.state_dir_access import open_passage
from wattline_agent.executor.tasklib import ensure_tasklib
from wattline_agent.keeper.client import (
    START_TIMEOUT_S,
    TIMEOUT_S,
    KeeperClient,
    KeeperDown,
    KeeperRefused,
)
from wattline_agent.keeper.journal import Fact, Journal
from wattline_agent.keeper.logfile import NoLog
from wattline_agent.keeper.mounts import Mounts
from wattline_agent.keeper.processes import tree
from wattline_agent.keeper.spec import (
    ACCOUNTS_PROTOCOL,
    MAKING_PROTOCOL,
    MAX_ACCOUNT_CHARS,
    RECOVERY_PROTOCOL,
    SECRETS_PROTOCOL,
    TaskSpec,
)
from wattline_agent.secrets.secret_store import DEFAULT_NAME, SecretStore, SecretUnusable
from wattline_agent.secrets.task_files import TaskSecrets
from wattline_protocol.ids import JobId, TaskRef
from wattline_protocol.wire.agent_messages import ExitKind, TaskExit
from wattline_protocol.wire.task_order import Notice, TaskOrder

KEPT_ATTEMPTS = 1000
"""Forgotten attempts whose log and working directory are retained; the oldest are removed first."""
PRUNED_AT_ONCE = 2
"""Directories removed with each forgotten attempt: never a long wait, and it catches up."""
PASSED_THROUGH = 0o711
"""Mode of a directory with accounts' directories below it: they can traverse but not list it."""
OLD_KEEPER = (
    "this node's keeper is older than its agent and starts nothing as other accounts ([run_as]); "
    "restart it when no task runs, and the agent after it"
)
LIST_S = 0.9
"""Interval of listing all attempts of the keeper: each sample. It notifies changes of phase."""


class KeeperRunner:
    """See `ports.TaskRunner`. One thread at a time."""

    def __init__(
        self,
        state_dir: Path,
        timeout_s: float = TIMEOUT_S,
        interface: Callable[[], str] = str,
        site_id: str = "",
        secrets: SecretStore | None = None,
        on_unreadable: Callable[[str], object] = str,
    ) -> None:
        """`timeout_s`: how long the keeper may take to answer; for the others see `open_runner`.
        Raises KeeperAbsent, or OSError when the state directory cannot be used."""
        self._interface, self._site_id = interface, site_id
        self._state_dir = state_dir.resolve()
        try:
            self._keeper = KeeperClient(self._state_dir, timeout_s)
        except KeeperDown as error:
            raise KeeperAbsent(str(error)) from error
        status = self._ask_strictly("status")
        self._protocol: int = status["protocol"]
        self._can_run_as = bool(status.get("can_run_as", False))
        self._account = str(status.get("account", ""))[:MAX_ACCOUNT_CHARS]
        self._tasklib = ensure_tasklib(self._state_dir)
        self._checkpoints = self._state_dir / CHECKPOINTS_DIR
        self._checkpoints.mkdir(exist_ok=True)
        self._checkpoints.chmod(PASSED_THROUGH)
        self._orders = Journal(self._state_dir / ORDERS_FILE)
        self._attempts: dict[TaskRef, Attempt] = {}
        self._unwritten: dict[str, bytes | None] = {}
        """Written before the next order: orders that reached no keeper, changes that failed."""
        self._dropped: list[str] = []
        """Dropped, but not yet in the journal of orders or at the keeper: it is not urgent."""
        self._listed_s, self._listed_n, self._is_list_due = 0.0, 0, False
        self._forgotten: deque[TaskRef] = deque()
        self._spares = DirPool()
        self._removals, self._reading = Cleanup(), ReadingTurns()
        self._mounts = Mounts(may_touch_root=True)
        store = secrets or SecretStore(self._state_dir / DEFAULT_NAME)
        self._secrets = TaskSecrets(store, self._state_dir)
        self.begin_service = NodeProgram(self._keeper, self._protocol).begin
        self._is_open = False
        """Accounts may traverse the state directory to their tasks' own."""
        self._load(on_unreadable)

    # --- Calls of the core --------------------------------------------------------------

    def can_run_as(self) -> bool:
        """Whether the keeper may start tasks as other accounts of the host."""
        return self._can_run_as

    def keeper_account(self) -> str:
        """The keeper's own account; empty: an older keeper."""
        return self._account

    def takes_recovery(self) -> bool:
        """Whether the keeper grants task leases to running attempts, and knows stop signals."""
        return self._protocol >= RECOVERY_PROTOCOL

    def takes_secrets(self) -> bool:
        """Whether the keeper reads variables from files."""
        return self._protocol >= SECRETS_PROTOCOL

    def launch(self, order: TaskOrder, context: LaunchContext) -> None:
        """Write the order to disk and have the keeper start it."""
        self.launch_all([(order, context)])

    def launch_all(self, launches: Sequence[tuple[TaskOrder, LaunchContext]]) -> None:
        """Write the orders to disk and have the keeper start them, in order."""
        specs = self._on_disk([spec for one in launches if (spec := self._prepared(*one))])
        self._report_dropped()
        tasks = [{"task": spec.to_json(self._protocol)} for spec in specs]
        try:
            answers = self._keeper.ask_all("start", tasks, timeout_s=START_TIMEOUT_S)
        except KeeperDown as error:
            raise KeeperAbsent(str(error)) from error
        for spec, answer in zip(specs, answers, strict=True):
            attempt = self._attempts[ref_of(spec.key)]
            if isinstance(answer, KeeperRefused):
                self._end_unstarted(attempt, answer)
            else:
                attempt.view, attempt.shown = answer.get("view", {}), None
                self._is_list_due |= not attempt.view

    def stop(self, ref: TaskRef, grace_s: float, why: str, kind: ExitKind | None = None) -> None:
        """Write the notice and send SIGTERM now, SIGKILL after the grace period."""
        self._ask("stop", key=key_of(ref), grace_s=grace_s, why=why, kind=kind)

    def notify(self, ref: TaskRef, notice: Notice | None) -> None:
        """Best effort: what follows must happen on a full disk, or one that deletes nothing."""
        attempt = self._attempts.get(ref)
        if attempt is not None:
            with suppress(OSError):
                put_notice(attempt.folder.notice, notice)
                attempt.notice, attempt.shown = notice, None

    def freeze(self, ref: TaskRef) -> None:
        """Freeze every process of the attempt."""
        self._ask("freeze", key=key_of(ref))

    def thaw(self, ref: TaskRef) -> None:
        """Thaw the attempt."""
        self.notify(ref, None)
        self._ask("thaw", key=key_of(ref))

    def dump_stacks(self, ref: TaskRef) -> None:
        """Have its programs write their stacks to its log."""
        attempt = self._attempts.get(ref)
        if attempt is not None and attempt.exit is None and attempt.view.get("pid"):
            marker = tree.marker_of(attempt.folder.path)
            dump_stacks(marker, attempt.view["pid"], tree.all_processes())

    def limit(self, ref: TaskRef, runtime_limit_s: float) -> None:
        """Set another runtime limit, in the keeper and in the order on disk."""
        attempt = self._attempts.get(ref)
        if attempt is None or attempt.exit is not None:
            return
        order = msgspec.structs.replace(attempt.file.order, runtime_limit_s=runtime_limit_s)
        attempt.file = msgspec.structs.replace(attempt.file, order=order)
        attempt.shown = None
        self._ask("limit", key=key_of(ref), runtime_limit_s=runtime_limit_s)
        try:
            self._write([fact_of(attempt.file)])
        except OSError:  # the disk is full; the keeper enforces it all the same
            self._unwritten.update([fact_of(attempt.file)])

    def kill(self, ref: TaskRef, kind: ExitKind, why: str) -> None:
        """Send SIGKILL to all its processes."""
        self._ask("kill", key=key_of(ref), kind=kind, why=why)

    def privileged(self) -> frozenset[TaskRef]:
        """Attempts with a process that may set caps; scans all processes of the host."""
        living = {ref: a for ref, a in self._attempts.items() if a.view and a.exit is None}
        first = {pid: ref for ref, a in living.items() if (pid := a.view.get("pid"))}
        markers = {ref: tree.marker_of(a.folder.path) for ref, a in living.items()}
        return privileged_attempts(first, markers, tree.all_processes())

    def drop(self, ref: TaskRef) -> None:
        """Delete an ended attempt's record; its log stays readable."""
        attempt = self._attempts.get(ref)
        if attempt is None or self._settle_exit(attempt) is None:
            return
        if attempt.file.order.kind == "service":
            with suppress(OSError):  # its account may have mounted over it; removed with the rest
                Path(attempt.folder.secret).unlink()
        self._dropped.append(key_of(ref))
        self._unwritten.pop(key_of(ref), None)
        del self._attempts[ref]
        self._forgotten.append(ref)
        for leftover in (*copies_of(ref), attempt.folder.output):
            self._removals.begin(leftover)
        if not attempt.file.order.run_as:
            self._offer(attempt.folder.path)
        if all(other.job != ref.job for other in self._attempts):
            self._offer(self._own_checkpoint_dir(ref.job))
        self._prune()

    def _report_dropped(self) -> None:
        """With the next launch or complete list: each by itself would wake the keeper."""
        if not self._dropped:
            return
        try:
            self._orders.put([(key, None) for key in self._dropped])
            self._keeper.notify("drop", keys=self._dropped)
        except OSError:  # the disk is full: retried when due again
            return
        except KeeperDown as error:
            raise KeeperAbsent(str(error)) from error
        self._dropped.clear()

    def grant_lease(self, ref: TaskRef, until_mono_s: float) -> None:
        """Give a running attempt a task lease."""
        self._ask("lease", key=key_of(ref), until_s=until_mono_s)
        self._is_list_due = True

    def renew(self, until_mono_s: float) -> None:
        """Extend all task leases."""
        self._ask("renew", until_s=until_mono_s)

    def observe(self) -> list[TaskSeen]:
        """All attempts not dropped."""
        self._take_news()
        if self._is_list_due or time.monotonic() - self._listed_s >= LIST_S:
            self._list()
        return [attempt.shown or self._seen(attempt) for attempt in self._attempts.values()]

    def fileno(self) -> int | None:
        """Descriptor on which the keeper sends notifications of changes."""
        return self._keeper.news.fileno()

    def read_log(
        self, ref: TaskRef, offset: int, limit_bytes: int, local_rank: int | None = None
    ) -> LogSlice:
        """A piece of the log, or of one rank's, from the oldest byte retained on."""
        folder = TaskDir(self._state_dir, ref)
        try:
            if local_rank is not None and self._mounts.covers(folder.path):
                raise NoLog(f"something is mounted at {folder.path}")
            return read_log(folder, local_rank, offset, limit_bytes)
        except NoLog as error:
            is_known = ref in self._attempts or ref in self._forgotten
            words = "" if is_known and local_rank is None else str(error)
            return LogSlice(b"", max(offset, 0), at_end=True, error=words)

    def read_record(self, ref: TaskRef) -> RecordParts:
        """The record of its run as it is now."""
        attempt = self._attempts.get(ref)
        report = None if attempt is None or attempt.exit is not None else attempt.run.report()
        return read_parts(TaskDir(self._state_dir, ref), report)

    def close(self) -> None:
        """Disconnect; keeper and tasks continue."""
        for attempt in self._attempts.values():
            if attempt.exit is None:
                attempt.run.keep(is_last=True)
        self._keeper.close()
        self._orders.close()
        self._removals.close()
        self._mounts.close()

    # --- Launching ----------------------------------------------------------------------

    def _prepared(self, order: TaskOrder, context: LaunchContext) -> TaskSpec | None:
        """Specification for the keeper; None = none: known already, or it cannot be started."""
        if order.ref in self._attempts:
            return None
        if not self._can_run_as and order.run_as == self._account:  # it already runs so
            order = msgspec.structs.replace(order, run_as="")
        folder = TaskDir(self._state_dir, order.ref)
        public, secret = zmq.curve_keypair() if order.kind == "service" else (b"", b"")
        file = OrderFile(order, context, public.decode())
        attempt = Attempt(file, folder)
        self._attempts[order.ref] = attempt
        try:
            if order.run_as and self._protocol < ACCOUNTS_PROTOCOL:
                raise NotLaunchable(OLD_KEEPER)
            for path in folder.made_for(order):
                self._spares.make(path)
            if secret:
                folder.save_secret(secret)
            checkpoints = self._make_checkpoint_dir(order, context)
            uid = None if order.run_as else os.getuid()
            pipes = find_pipes(order, os.environ, uid, self._mounts.touch)
            secrets = self._secrets.place(key_of(order.ref), order) if order.secrets else ""
            where = (folder, checkpoints, self._tasklib, pipes, self._interface(), self._site_id)
            spec = spec_of(order, context, *where, secrets)
            if context.checkpoint_root:
                spec = replace(spec, make=checkpoints)
            return self._for_account(spec, order, folder) if order.run_as else spec
        except (NotLaunchable, SecretUnusable, OSError) as error:
            self._end_unstarted(attempt, error, folder.path)
        return None

    def _on_disk(self, specs: list[TaskSpec]) -> list[TaskSpec]:
        """Write the orders to disk. Nothing relies on them before; a power failure may lose them,
        for then the attempts are lost as well. Orders that cannot be written are not started."""
        files = [self._attempts[ref_of(spec.key)].file for spec in specs]
        try:
            self._write([*map(fact_of, files)])
        except OSError as error:
            for file in files:
                where = f"{self._state_dir}/{ORDERS_FILE}"
                self._end_unstarted(self._attempts[file.order.ref], error, where)
            return []
        return specs

    def _write(self, facts: Sequence[Fact]) -> None:
        """Write facts behind those that are unwritten. Raises OSError."""
        self._orders.put([*self._unwritten.items(), *facts])
        self._unwritten.clear()

    def _for_account(self, spec: TaskSpec, order: TaskOrder, folder: TaskDir) -> TaskSpec:
        """Files given to the account: those in directories that only we may write."""
        if not self._is_open:
            with suppress(PermissionError):  # no permission: the start reports what it lacks
                open_passage(self._state_dir)
            self._is_open = True
        own = [*folder.made_for(order), folder.make_metrics()]
        if order.kind == "service":
            own.append(folder.secret)
        if not spec.make:
            own.append(self._own_checkpoint_dir(order.ref.job))
        if order.secrets:
            own.extend(f"{spec.env['WATTLINE_SECRETS_DIR']}/{name}" for name in order.secrets)
        return replace(spec, own=tuple(own))

    def _make_checkpoint_dir(self, order: TaskOrder, context: LaunchContext) -> str:
        if context.checkpoint_root:
            path = f"{context.checkpoint_root}/{order.ref.job}"
            if not order.run_as and self._protocol < MAKING_PROTOCOL:
                os.makedirs(path, exist_ok=True)  # noqa: PTH103 - a launch is a hot path
        else:
            path = self._own_checkpoint_dir(order.ref.job)
            if self._mounts.covers(path):
                raise NotLaunchable(f"something is mounted at {path}; umount it")
            self._spares.make(path)
        return path

    def _offer(self, path: str) -> None:
        if not self._mounts.covers(path):
            self._spares.offer(path)

    def _own_checkpoint_dir(self, job: JobId) -> str:
        return f"{self._checkpoints}/{job}"

    def _end_unstarted(self, attempt: Attempt, error: Exception, where: str = "") -> None:
        self._remove_secrets(attempt)
        attempt.record = unstarted(error, where)
        attempt.file = msgspec.structs.replace(attempt.file, unstarted=attempt.record)
        with suppress(OSError):  # reported anyway: an unstarted attempt has nothing to lose
            self._orders.put([fact_of(attempt.file)])

    def _remove_secrets(self, attempt: Attempt) -> None:
        if attempt.file.order.secrets:
            self._secrets.remove(key_of(attempt.file.order.ref))

    # --- Existing attempts --------------------------------------------------------------

    def _load(self, on_unreadable: Callable[[str], object]) -> None:
        """Adopt the attempts that earlier agents have launched."""
        held = {view["key"] for view in self._ask_strictly("list")["tasks"]}
        orders, unreadable = read_orders(self._state_dir)  # after `held`: all have one
        for key in unreadable:  # else its processes would hold its GPUs, unknown to all
            on_unreadable(key)
            self._ask("kill", key=key, kind="keeper_lost", why="its order cannot be read")
        self._unwritten.update(dict.fromkeys(unreadable))
        if gone := sorted(held - set(orders)):  # the agent may have died before dropping them
            self._ask("drop", keys=gone)
        for file in orders.values():
            ref, folder = file.order.ref, TaskDir(self._state_dir, file.order.ref)
            notice = read_notice(folder.notice)
            self._attempts[ref] = Attempt(file, folder, record=file.unstarted, notice=notice)
        self._list()
        for ref, attempt in list(self._attempts.items()):
            if self._never_launched(attempt):
                del self._attempts[ref]
                self._unwritten[key_of(ref)] = None
        self._secrets.sweep([*map(key_of, self._attempts)])
        found = on_disk(self._state_dir, self._mounts.covers)
        self._forgotten.extend(ref for ref in found if key_of(ref) not in orders)
        for ref in self._forgotten:  # an earlier agent may have ended before it removed them
            self._removals.begin(TaskDir(self._state_dir, ref).output)

    def _never_launched(self, attempt: Attempt) -> bool:
        """The agent died between writing the order and sending it to the keeper: no acknowledgement
        was sent yet, so the scheduler will send the order again."""
        return not attempt.view and attempt.record is None

    def _take_news(self) -> None:
        try:
            changes = self._keeper.take_changes()
        except KeeperDown as error:
            raise KeeperAbsent(str(error)) from error
        for change in changes:
            attempt = self._attempts.get(ref_of(change["changed"]))
            if "view" not in change:  # an older keeper
                self._is_list_due = True
            elif attempt is not None and change["n"] > self._listed_n:
                attempt.view, attempt.shown = change["view"], None

    def _list(self) -> None:
        self._report_dropped()
        answer = self._ask_strictly("list")
        views = {view["key"]: view for view in answer["tasks"]}
        self._listed_n, self._listed_s = answer.get("n", 0), time.monotonic()
        self._is_list_due = False
        for ref, attempt in self._attempts.items():
            if attempt.exit is None:
                attempt.view, attempt.shown = views.get(key_of(ref), {}), None
                if argv := attempt.run.helper_due(attempt.view, self._protocol, self._tasklib):
                    self._ask("helper", key=key_of(ref), argv=argv)
        self._reading.read(self._attempts.values())

    def _settle_exit(self, attempt: Attempt) -> TaskExit | None:
        """Its exit, from the keeper or from disk; None while it lives."""
        if attempt.exit is None:
            record = attempt.record or end_in(attempt.view)
            if record is not None:
                self._remove_secrets(attempt)
                attempt.record = record
                is_covered = self._mounts.covers(attempt.folder.path)
                order = attempt.file.order
                attempt.exit = exit_of(record, attempt.folder, order, is_covered=is_covered)
        return attempt.exit

    def _seen(self, attempt: Attempt) -> TaskSeen:
        has_ended = attempt.exit is None and self._settle_exit(attempt) is not None
        if has_ended:
            attempt.metrics.poll()  # after its end: what it wrote before is there now
        seen = attempt.seen()
        if has_ended:
            attempt.run.settle(seen.run_s, seen.progress_marks)
        return seen

    def _prune(self) -> None:
        for _ in range(min(PRUNED_AT_ONCE, max(0, len(self._forgotten) - KEPT_ATTEMPTS))):
            if self._removals.is_full():
                return
            folder = TaskDir(self._state_dir, self._forgotten.popleft())
            folder.remove_files()
            if not self._mounts.is_any_below(folder.path):  # blocked by the server of that mount
                self._removals.begin(folder.path)

    # --- The keeper ---------------------------------------------------------------------

    def _ask(self, do: str, **request: Any) -> None:
        """A command that may come too late: ignored for an unknown or ended attempt."""
        try:
            self._ask_strictly(do, **request)
        except KeeperRefused as error:
            raise ValueError(f"the keeper refused to {do}: {error}") from error

    def _ask_strictly(self, do: str, **request: Any) -> dict[str, Any]:
        try:
            return self._keeper.ask(do, **request)
        except KeeperDown as error:
            raise KeeperAbsent(str(error)) from error
