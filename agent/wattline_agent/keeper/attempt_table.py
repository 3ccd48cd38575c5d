"""Table of the keeper's attempts: starts them, ends them, and tracks their remaining processes.

Every method returns at once. Work that takes time (a stop's grace, the death of killed processes,
the last of a log) is continued by `tick`, at the time that `next_s` returns.
"""

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from resource import struct_rusage
from typing import Any

from wattline_agent.keeper.attempt import (
    Attempt,
    boottime_s,
    host_oom_kills,
    never_ran,
    view_of_end,
)
from wattline_agent.keeper.journal import Journal
from wattline_agent.keeper.life import Due, Life, StopReason
from wattline_agent.keeper.mounts import Mounts
from wattline_agent.keeper.processes import tree
from wattline_agent.keeper.processes.cgroup import Site
from wattline_agent.keeper.processes.command import NotStarted
from wattline_agent.keeper.processes.process_groups import ProcessGroups
from wattline_agent.keeper.records import write_notice
from wattline_agent.keeper.spec import (
    MAX_TASKS,
    STARTS_FILE,
    STOP_FILE,
    TASKS_DIR,
    BadRequest,
    ExitRecord,
    TaskSpec,
)
from wattline_agent.keeper.starting import Loop, StartCallbacks, Starter
from wattline_agent.keeper.warden import WardenLink, send_signal

USAGE_PERIOD_S = 10.0
"""Interval of usage sampling; a scan of /proc costs some milliseconds on a busy host."""
RECORD_RETRY_S = 1.0
"""Interval of retries of an exit record that could not be written (disk full)."""
RESEND_S = 10.0
"""How long the warden may take to write an exit record (stalled disk) before it is asked again."""
OOM_COUNT_S = 0.1
"""Cache time of the OOM kill count: a kill this shortly before a start may be attributed to it."""


class AttemptTable:
    """All attempts. Calls `changed` with key and view whenever an attempt's phase changes."""

    def __init__(
        self,
        state_dir: Path,
        site: Site,
        ended: Mapping[str, ExitRecord],
        changed: Callable[[str, dict[str, Any]], None],
        loop: Loop,
        log: Callable[[str], None],
    ) -> None:
        """`ended`: exit records of earlier keepers that the agent has not dropped yet."""
        self._tasks_dir = str(state_dir / TASKS_DIR)
        self._journal = Journal(state_dir / STARTS_FILE)
        callbacks = StartCallbacks(self._hand_over, self._changed, self._failed)
        self._starter = Starter(site, self._journal, loop, callbacks, Mounts())
        self.warden: WardenLink
        self._notify = changed
        self._log = log
        self._attempts: dict[str, Attempt] = {}
        """Attempts whose exit record is not on disk yet."""
        self._processes = ProcessGroups(self._attempts)
        self._ended = dict(ended)
        self._usage_at_s = 0.0
        self._oom_kills, self._oom_kills_at_s = 0, -OOM_COUNT_S

    # --- Requests of clients ------------------------------------------------------------

    def start(self, spec: TaskSpec) -> dict[str, Any]:
        """Start an attempt and return its view, which may still be `starting`. A known attempt is
        left unchanged. Raises BadRequest."""
        end = self._ended.get(spec.key)
        if end is not None:
            return view_of_end(spec.key, end)
        if spec.key not in self._attempts:
            self._start(spec)
        return self._attempts[spec.key].view(boottime_s())

    def _start(self, spec: TaskSpec) -> None:
        if len(self._attempts) + len(self._ended) >= MAX_TASKS:
            raise BadRequest(f"the keeper has {MAX_TASKS} attempts already")
        folder = f"{self._tasks_dir}/{spec.key}"
        life = Life(spec, 0, boottime_s(), time.time(), lease_until_s=spec.lease_until_s)
        life.oom_kills_before = self._oom_kills_lately(life.started_boot_s)
        attempt = self._attempts[spec.key] = Attempt(life, folder)
        self._starter.begin(attempt)

    def _oom_kills_lately(self, now_s: float) -> int:
        """OOM kills of the host, cached for OOM_COUNT_S: simultaneous starts share one read."""
        if now_s - self._oom_kills_at_s >= OOM_COUNT_S:
            self._oom_kills, self._oom_kills_at_s = host_oom_kills(), now_s
        return self._oom_kills

    def stop(self, key: str, grace_s: float, asked: StopReason) -> None:
        """Write the notice, send its stop signal now or with the next scan, and SIGKILL after the
        grace period."""
        attempt, now_s = self._living(key), boottime_s()
        if attempt is None:
            self._withdraw(key, asked, signal.SIGTERM)
        elif attempt.life.ask(asked, grace_s, now_s):
            attempt.life.signal_since_s = now_s
            self._notify_stop(attempt, asked)

    def limit(self, key: str, runtime_limit_s: float) -> None:
        """Replace the runtime limit; 0 = none."""
        attempt = self._attempts.get(key)
        if attempt is not None:
            attempt.life.spec = replace(attempt.life.spec, runtime_limit_s=runtime_limit_s)

    def kill(self, key: str, asked: StopReason | None) -> None:
        """Send SIGKILL to all its processes."""
        attempt = self._living(key)
        if attempt is None:
            self._withdraw(key, asked, signal.SIGKILL)
        elif attempt.life.ask_kill(asked, boottime_s()):
            self._kill(attempt)

    def _withdraw(self, key: str, asked: StopReason | None, number: int) -> None:
        """End an attempt that is queued to start, as if the signal had reached it."""
        if self._starter.withdraw(key):
            kind, why = (asked.kind, asked.why) if asked is not None else ("", "")
            end = never_ran(kind or "signaled", f"ended before it was started: {why}")
            self._end(self._attempts[key], replace(end, signal=number))

    def freeze(self, key: str) -> None:
        """Freeze all its processes; `changed` is called once all have stopped."""
        if self._starter.is_waiting(key):
            waiting = self._attempts[key]
            waiting.life.frozen = waiting.life.at_rest = True  # no process to freeze yet
            self._changed(waiting)
            return
        attempt = self._living(key)
        if attempt is None or attempt.life.frozen or attempt.life.phase == "stopping":
            return
        attempt.life.freeze(boottime_s())
        if attempt.group is not None:
            attempt.group.freeze(True)
        else:
            self._processes.signal(attempt, signal.SIGSTOP)
        self._starter.fork_queued()

    def thaw(self, key: str) -> None:
        """Let its processes continue."""
        attempt = self._attempts.get(key)
        if attempt is None or not attempt.life.frozen:
            return
        attempt.life.thaw(boottime_s())
        if attempt.group is not None:
            attempt.group.freeze(False)
        elif attempt.life.pid:
            self._processes.signal(attempt, signal.SIGCONT)
        self._changed(attempt)
        self._starter.fork_queued()

    def lease(self, key: str, until_s: float) -> None:
        """Give an attempt a task lease, unless it has one."""
        attempt = self._attempts.get(key)
        if attempt is not None and attempt.life.lease_until_s is None:
            attempt.life.lease_until_s = until_s

    def help(self, key: str, argv: Sequence[str]) -> None:
        """Start a program beside a running attempt, once; see `Starter.begin_helper`."""
        attempt = self._living(key)
        if attempt is None or attempt.life.phase != "running":
            return
        try:
            self._starter.begin_helper(attempt, argv)
        except (NotStarted, OSError) as error:  # the attempt runs on without
            self._log(f"no helper for {key}: {error}")

    def renew(self, until_s: float) -> None:
        """Extend every task lease. Never shortens one; attempts without a lease get none."""
        for attempt in self._attempts.values():
            if attempt.life.lease_until_s is not None:
                attempt.life.lease_until_s = max(attempt.life.lease_until_s, until_s)

    def drop(self, keys: Iterable[str]) -> None:
        """Delete the exit records of these attempts."""
        gone = [key for key in keys if self._ended.pop(key, None) is not None]
        self._journal.put([(key, None) for key in gone])
        self.warden.drop(gone)

    def views(self) -> list[dict[str, Any]]:
        """Views of all attempts, for clients."""
        now_s = boottime_s()
        ended = [view_of_end(key, end) for key, end in self._ended.items()]
        return ended + [attempt.view(now_s) for attempt in self._attempts.values()]

    def _changed(self, attempt: Attempt) -> None:
        self._notify(attempt.life.spec.key, attempt.view(boottime_s()))

    def pipes(self) -> list[int]:
        """Output pipes of living attempts."""
        ends = (end for a in self._attempts.values() for end in (a.pipe, a.status_pipe))
        return [end for end in ends if end >= 0]

    def living(self) -> list[str]:
        """Keys of attempts that have not ended."""
        return list(self._attempts)

    # --- Child processes ----------------------------------------------------------------

    def reap(self) -> None:
        """Collect every ended child, adopted orphans included. Collects all before it acts on one,
        because acting may fork children that are not yet in the table."""
        ended = list(_ended_children())
        living = (attempt for attempt in self._attempts.values() if attempt.life.status is None)
        roots = {attempt.life.pid: attempt for attempt in living if attempt.life.pid}
        for pid, status, usage in ended:
            self._processes.reaped(pid)
            attempt = roots.pop(pid, None)
            if attempt is not None:
                self._root_exited(attempt, status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)

    def written(self, key: str, error: str) -> None:
        """The warden has written an exit record, or failed to. An end on disk is reported."""
        attempt = self._attempts.get(key)
        if attempt is None or attempt.end is None:
            return
        if error:
            attempt.resend_at_s = boottime_s() + RECORD_RETRY_S
            self._log(f"the end of {key} is not on disk yet: {error}")
            self._changed(attempt)
            return
        attempt.release()
        del self._attempts[key]
        self._ended[key] = attempt.end
        self._notify(key, view_of_end(key, attempt.end))

    def hand_over_all(self, warden: WardenLink, pid: int) -> None:
        """Hand all output over to a new warden, which replaces one that died."""
        self.warden, self._processes.warden_pid = warden, pid
        for attempt in self._attempts.values():
            if attempt.pipe >= 0:
                self._hand_over(attempt)
            if attempt.end is not None:
                self._send_end(attempt, attempt.end)

    def tick(self) -> None:
        """Do what is due."""
        now_s = boottime_s()
        for attempt in list(self._attempts.values()):
            self._do_due(attempt, now_s)
        if now_s >= self._usage_at_s:
            self._usage_at_s = now_s + USAGE_PERIOD_S
            self._measure()

    def next_s(self) -> float | None:
        """When `tick` is next needed."""
        now_s = boottime_s()
        times = [
            attempt.life.next_s(now_s) if attempt.end is None else attempt.resend_at_s
            for attempt in self._attempts.values()
        ]
        if times:
            times.append(self._usage_at_s)
        return min((time for time in times if time is not None), default=None)

    # --- Ending -------------------------------------------------------------------------

    def _hand_over(self, attempt: Attempt) -> None:
        spec = attempt.life.spec
        try:
            self.warden.open(
                spec.key,
                attempt.folder,
                attempt.life.pid,
                attempt.group_path,
                spec.log_limit_bytes,
                attempt.pipe,
            )
        except OSError:  # dead or stuck: the next warden takes over all pipes
            if self._processes.warden_pid:
                send_signal(self._processes.warden_pid, signal.SIGKILL)

    def _do_due(self, attempt: Attempt, now_s: float) -> None:
        if attempt.end is not None:
            if now_s >= attempt.resend_at_s:
                self._send_end(attempt, attempt.end)
            return
        match attempt.life.due(now_s):
            case Due.STOP:
                limit = attempt.life.spec.runtime_limit_s
                asked = StopReason("runtime_limit", f"ran for its limit of {limit:g} s")
                self.stop(attempt.life.spec.key, attempt.life.spec.grace_s, asked)
            case Due.SIGNAL:
                self._signal_stop(attempt)
            case Due.KILL:
                self.kill(attempt.life.spec.key, attempt.life.kill_reason(now_s))
            case Due.NOT_STARTED:
                self._starter.give_up(attempt)
            case Due.CHECK:
                self._check(attempt, now_s)
            case Due.GIVE_UP:
                attempt.life.leftovers = sorted(p.pid for p in self._processes.of(attempt))
                self._processes.give_up(attempt.life.leftovers)
                self._starter.leave(attempt)
                self._end(attempt, attempt.describe_end())
            case Due.NOTHING:
                pass

    def _notify_stop(self, attempt: Attempt, asked: StopReason) -> None:
        try:
            write_notice(f"{attempt.folder}.{STOP_FILE}", asked.why)
        except OSError as error:  # the signal serves as notice
            self._log(f"no stop notice for {attempt.life.spec.key}: {error}")
        self._signal_stop(attempt)
        self._changed(attempt)

    def _signal_stop(self, attempt: Attempt) -> None:
        """Send the signal of a stop, at once or with the next scan."""
        life, since_s = attempt.life, attempt.life.signal_since_s
        if since_s is None or not self._processes.request_stop(
            attempt, life.spec.stop_signal, since_s
        ):
            return
        life.signal_since_s = None
        if life.frozen:  # a frozen process handles no signal but SIGKILL
            self.thaw(life.spec.key)

    def _kill(self, attempt: Attempt) -> None:
        if attempt.group is not None:
            attempt.group.kill()
        self._processes.signal(attempt, signal.SIGKILL)

    def _root_exited(self, attempt: Attempt, status: int, cpu_s: float, max_rss_kib: int) -> None:
        life = attempt.life
        life.status = status
        life.exited_boot_s = boottime_s()
        life.cpu_s = max(life.cpu_s, cpu_s)
        life.max_rss_bytes = max(life.max_rss_bytes, max_rss_kib * 1024)
        self._starter.reaped(attempt)
        self._check(attempt, life.exited_boot_s)
        if attempt.end is None:  # other processes of it remain
            self._changed(attempt)

    def _check(self, attempt: Attempt, now_s: float) -> None:
        life = attempt.life
        if life.frozen and life.status is None and life.killed_at_s is None:
            self._check_frozen(attempt)
            return
        is_empty = life.status is not None and self._processes.is_empty(attempt)
        if is_empty is None:
            return
        if is_empty:
            self._end(attempt, attempt.describe_end())
        elif life.killed_at_s is not None:
            self._kill(attempt)
        elif life.status is not None and (life.kill_at_s is None or now_s >= life.kill_at_s):
            life.ask_kill(None, now_s)
            self._kill(attempt)

    def _check_frozen(self, attempt: Attempt) -> None:
        if attempt.group is not None:
            attempt.life.at_rest = attempt.group.is_frozen()
        else:
            processes = self._processes.since(attempt, attempt.life.frozen_boot_s or 0.0)
            if processes is None:
                return
            moving = tree.moving(processes)
            for pid in moving:
                send_signal(pid, signal.SIGSTOP)
            attempt.life.at_rest = not moving
        if attempt.life.at_rest:
            self._changed(attempt)

    def _failed(self, attempt: Attempt, kind: str, detail: str) -> None:
        """Its program will never run; end the attempt, and its process if it has one."""
        attempt.failure = (kind, detail)
        if attempt.life.pid == 0:
            self._end(attempt, attempt.describe_end())
        elif attempt.life.status is None and attempt.life.ask_kill(None, boottime_s()):
            if attempt.group is not None:
                attempt.group.kill()
            send_signal(attempt.life.pid, signal.SIGKILL)  # it has no other processes yet

    def _end(self, attempt: Attempt, end: ExitRecord) -> None:
        """End the attempt: have the rest of its log and its exit record written; see `written`."""
        attempt.end = end
        self._send_end(attempt, end)

    def _send_end(self, attempt: Attempt, end: ExitRecord) -> None:
        attempt.resend_at_s = boottime_s() + RESEND_S
        try:
            self.warden.finish(attempt.life.spec.key, end.to_json())
        except OSError:  # stuck or dead: it is asked again, or its successor is
            return

    # --- Processes ----------------------------------------------------------------------

    def _living(self, key: str) -> Attempt | None:
        attempt = self._attempts.get(key)
        return attempt if attempt is not None and attempt.life.pid else None

    def _measure(self) -> None:
        if not self.living():
            return
        oom_kills = host_oom_kills()
        for key, processes in self._processes.all().items():
            self._attempts[key].life.oom_kills_before = oom_kills
            self._attempts[key].measure(processes)


def _ended_children() -> Iterator[tuple[int, int, struct_rusage]]:
    """Process number, wait status and usage of each ended child; the child is reaped."""
    with suppress(ChildProcessError):
        while (child := os.wait4(-1, os.WNOHANG))[0]:
            yield child
