"""State machine of one attempt in the keeper: deadlines, phases and the exit. Pure.

Times are CLOCK_BOOTTIME seconds, passed as arguments. An attempt runs; an end is requested (a stop,
the runtime limit, the task lease, a kill); its first process exits; it has ended once no process is
left, or once the patience after the last kill has passed.
"""

from dataclasses import dataclass, field
from enum import Enum

from wattline_agent.keeper.spec import TaskSpec

KILL_PATIENCE_S = 5.0
"""How long killed processes may take to disappear before they are reported as left over."""
START_PATIENCE_S = 4.0
"""Limit from fork to exec: milliseconds, unless a name service or a file system hangs."""
POLL_S = 0.02
"""Poll interval of an attempt that is being killed, stopped or frozen."""
SIGKILL = 9
SIGNAL_NAMES = {1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS"} | {
    8: "SIGFPE",
    9: "SIGKILL",
    11: "SIGSEGV",
    13: "SIGPIPE",
    15: "SIGTERM",
    24: "SIGXCPU",
    25: "SIGXFSZ",
}


class Due(Enum):
    """The action an attempt needs now."""

    NOTHING = "nothing"
    STOP = "stop"
    """Write the notice and send SIGTERM: the runtime limit has passed."""
    SIGNAL = "signal"
    """Send the signal of a stop."""
    KILL = "kill"
    CHECK = "look"
    """Check which processes are left, or whether all are frozen."""
    NOT_STARTED = "not_started"
    """Its program should have been executed by now."""
    GIVE_UP = "give_up"
    """Patience after the kill has passed: end it and report what is left over."""


@dataclass(frozen=True, slots=True)
class StopReason:
    """Why the attempt is to end. `kind` is empty where the exit status decides the kind."""

    kind: str
    why: str


@dataclass
class Life:
    """State of one attempt, from start to end."""

    spec: TaskSpec
    pid: int
    """0 = queued to start, or never gets a process."""
    started_boot_s: float
    started_unix_s: float
    lease_until_s: float | None = None
    exec_until_s: float | None = None
    """Deadline for exec; None = its program runs, or there is no process."""
    asked: StopReason | None = None
    signal_since_s: float | None = None
    """When a stop was requested whose signal is not sent yet."""
    kill_at_s: float | None = None
    """When the grace period of a stop ends."""
    killed_at_s: float | None = None
    frozen: bool = False
    """A freeze is requested."""
    frozen_boot_s: float | None = None
    """Start of the current freeze; None = not frozen, or no process to freeze."""
    paused_s: float = 0.0
    """Total frozen time up to the last thaw; it does not count as run time."""
    at_rest: bool = False
    """Every process has been observed frozen."""
    status: int | None = None
    """Wait status of the first process, once it has exited."""
    exited_boot_s: float | None = None
    cpu_s: float = 0.0
    max_rss_bytes: int = 0
    oom_kills_before: int = 0
    """The host's OOM kill count when the attempt was last known to run."""
    leftovers: list[int] = field(default_factory=list)

    @property
    def phase(self) -> str:
        """starting, running, paused or stopping; the object is removed once its end is on disk."""
        if self.asked is not None or self.status is not None:
            return "stopping"
        if self.frozen and self.at_rest:
            return "paused"
        return "starting" if self.is_starting else "running"

    @property
    def is_starting(self) -> bool:
        """Its program does not run yet, or never will."""
        return self.pid == 0 or self.exec_until_s is not None

    def forked(self, pid: int, now_s: float, now_unix_s: float) -> None:
        """The attempt has a process, which has not executed the program yet."""
        self.pid, self.started_boot_s, self.started_unix_s = pid, now_s, now_unix_s
        self.exec_until_s = now_s + START_PATIENCE_S

    def freeze(self, now_s: float) -> None:
        """Request a freeze; the run time stops counting."""
        self.frozen, self.frozen_boot_s = True, now_s

    def thaw(self, now_s: float) -> None:
        """Let its processes continue, with a full new deadline for exec."""
        self.frozen = self.at_rest = False
        if self.frozen_boot_s is not None:
            self.paused_s += now_s - self.frozen_boot_s
            self.frozen_boot_s = None
        if self.exec_until_s is not None:
            self.exec_until_s = now_s + START_PATIENCE_S

    def run_s(self, now_s: float) -> float:
        """Run time so far, without pauses."""
        ends = (now_s, self.exited_boot_s, self.frozen_boot_s)
        until = min(end for end in ends if end is not None)
        return max(0.0, until - self.started_boot_s - self.paused_s)

    def ask(self, asked: StopReason, grace_s: float, now_s: float) -> bool:
        """Begin a stop. A second one can only shorten the grace. False: no new signal is needed."""
        kill_at = now_s + grace_s
        if self.killed_at_s is not None:
            return False
        is_first = self.asked is None
        if is_first:
            self.asked = asked
        self.kill_at_s = kill_at if self.kill_at_s is None else min(self.kill_at_s, kill_at)
        return is_first

    def ask_kill(self, asked: StopReason | None, now_s: float) -> bool:
        """Begin a kill; a reason given overrides an earlier one. False: killed already."""
        if self.killed_at_s is not None:
            return False
        self.asked = asked or self.asked
        self.killed_at_s = now_s
        return True

    def due(self, now_s: float) -> Due:
        """The most urgent action."""
        if self.killed_at_s is not None:
            late = now_s - self.killed_at_s >= KILL_PATIENCE_S
            return Due.GIVE_UP if late else Due.CHECK
        if self.has_lease_run_out(now_s):
            return Due.KILL
        if self.pid == 0:
            return Due.NOTHING
        if self.kill_at_s is not None and now_s >= self.kill_at_s:
            return Due.KILL
        if self.signal_since_s is not None:
            return Due.SIGNAL
        if self._has_start_run_out(now_s):
            return Due.NOT_STARTED
        limit = self.spec.runtime_limit_s
        may_stop = self.asked is None and not self.frozen  # a stop thaws it, without watts
        if limit and may_stop and self.run_s(now_s) >= limit:
            return Due.STOP
        if self.status is not None or (self.frozen and not self.at_rest):
            return Due.CHECK
        return Due.NOTHING

    def has_lease_run_out(self, now_s: float) -> bool:
        """Whether the task lease has expired while the attempt still runs."""
        lease = self.lease_until_s
        return lease is not None and now_s >= lease and self.status is None

    def _has_start_run_out(self, now_s: float) -> bool:
        late = self.exec_until_s is not None and now_s >= self.exec_until_s
        return late and not self.frozen and self.status is None

    def kill_reason(self, now_s: float) -> StopReason | None:
        """Reason for `due` returning KILL; None where a stop's own reason counts."""
        if not self.has_lease_run_out(now_s):
            return None
        return StopReason("task_lease_expired", "the task lease ran out before it was renewed")

    def next_s(self, now_s: float) -> float | None:
        """When `due` may next change; None = not through time alone."""
        if self.due(now_s) is not Due.NOTHING:
            return now_s + POLL_S
        if self.pid == 0:
            return self.lease_until_s
        limit = self.spec.runtime_limit_s
        times = [self.lease_until_s, self.kill_at_s]
        if not self.frozen:
            times.append(self.exec_until_s)
        if limit and self.asked is None and not self.frozen:
            times.append(self.started_boot_s + self.paused_s + limit)
        return min((time for time in times if time is not None), default=None)


@dataclass(frozen=True, slots=True)
class MemoryEvidence:
    """Evidence of an out-of-memory kill."""

    in_group: bool
    """The task's own cgroup counted an OOM kill."""
    on_host: bool
    """The host counted an OOM kill while the attempt ended."""


def describe_exit(life: Life, evidence: MemoryEvidence) -> tuple[str, int | None, int | None, str]:
    """(kind, code, signal, detail) of an attempt whose first process ended with `status`."""
    status = life.status if life.status is not None else SIGKILL
    number = status & 0x7F
    code = None if number else status >> 8
    signal = number or None
    if life.asked is not None and life.asked.kind:
        return life.asked.kind, code, signal, life.asked.why
    if evidence.in_group:
        return "out_of_memory", code, signal, "killed: out of memory (its memory limit)"
    if signal is None:
        return "exited", code, None, f"exited with status {code}" if code else "exited with 0"
    return _describe_signal(life, evidence, signal)


def _describe_signal(
    life: Life, evidence: MemoryEvidence, signal: int
) -> tuple[str, int | None, int | None, str]:
    words = f"killed by signal {signal} ({SIGNAL_NAMES.get(signal, 'a real-time signal')})"
    if signal == SIGKILL and life.asked is None and evidence.on_host:
        detail = "killed by signal 9, probably out of memory: the kernel ended a process for it"
        return "out_of_memory", None, signal, detail
    if life.asked is not None:
        words += f" after a stop request: {life.asked.why}"
        if signal == SIGKILL and life.kill_at_s is not None:
            words = f"killed after its grace: {life.asked.why}"
    return "signaled", None, signal, words
