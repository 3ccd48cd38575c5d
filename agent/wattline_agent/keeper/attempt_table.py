"""Table of the keeper's attempts: starts them, ends them, and tracks their remaining processes.

Every method returns at once. Work that takes time (a stop's grace, the death of killed processes,
the last of a log) is continued by `tick`, at the time that `next_s` returns.
"""

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from resource import struct_rusage
from typing import Any

from wattline_agent.keeper.attempt import Held, boottime_s, host_oom_kills, never_ran, view_of_end
from wattline_agent.keeper.journal import Journal
from wattline_agent.keeper.life import Asked, Due, Life
from wattline_agent.keeper.mounts import Mounts
from wattline_agent.keeper.processes import tree
from wattline_agent.keeper.processes.cgroup import Site
from wattline_agent.keeper.processes.process_groups import Census
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
from wattline_agent.keeper.starting import Loop, StartCallbacks, Starts
from wattline_agent.keeper.warden import WardenLine, send_signal

USAGE_PERIOD_S = 10.0
"""Interval of usage sampling; a scan of /proc costs some milliseconds on a busy host."""
RECORD_RETRY_S = 1.0
"""Interval of retries of an exit record that could not be written (disk full)."""
RESEND_S = 10.0
"""How long the warden may take to write an exit record (stalled disk) before it is asked again."""
OOM_COUNT_S = 0.1
"""Cache time of the OOM kill count: a kill this shortly before a start may be attributed to it."""


class Holder:
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
        self._starts = Starts(site, self._journal, loop, callbacks, Mounts())
        self.warden: WardenLine
        self._tell = changed
        self._log = log
        self._held: dict[str, Held] = {}
        """Attempts whose exit record is not on disk yet."""
        self._census = Census(self._held)
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
        if spec.key not in self._held:
            self._start(spec)
        return self._held[spec.key].view(boottime_s())

    def _start(self, spec: TaskSpec) -> None:
        if len(self._held) + len(self._ended) >= MAX_TASKS:
            raise BadRequest(f"the keeper holds {MAX_TASKS} attempts already")
        folder = f"{self._tasks_dir}/{spec.key}"
        life = Life(spec, 0, boottime_s(), time.time(), lease_until_s=spec.lease_until_s)
        life.oom_kills_before = self._oom_kills_lately(life.started_boot_s)
        held = self._held[spec.key] = Held(life, folder)
        self._starts.begin(held)

    def _oom_kills_lately(self, now_s: float) -> int:
        """OOM kills of the host, cached for OOM_COUNT_S: simultaneous starts share one read."""
        if now_s - self._oom_kills_at_s >= OOM_COUNT_S:
            self._oom_kills, self._oom_kills_at_s = host_oom_kills(), now_s
        return self._oom_kills

    def stop(self, key: str, grace_s: float, asked: Asked) -> None:
        """Write the notice, send SIGTERM to its processes, and SIGKILL after the grace period."""
        held = self._living(key)
        if held is None:
            self._withdraw(key, asked, signal.SIGTERM)
        elif held.life.ask(asked, grace_s, boottime_s()):
            self._tell_to_stop(held, asked)

    def limit(self, key: str, runtime_limit_s: float) -> None:
        """Replace the runtime limit; 0 = none."""
        held = self._held.get(key)
        if held is not None:
            held.life.spec = replace(held.life.spec, runtime_limit_s=runtime_limit_s)

    def kill(self, key: str, asked: Asked | None) -> None:
        """Send SIGKILL to all its processes."""
        held = self._living(key)
        if held is None:
            self._withdraw(key, asked, signal.SIGKILL)
        elif held.life.ask_kill(asked, boottime_s()):
            self._kill(held)

    def _withdraw(self, key: str, asked: Asked | None, number: int) -> None:
        """End an attempt that is queued to start, as if the signal had reached it."""
        if self._starts.withdraw(key):
            kind, why = (asked.kind, asked.why) if asked is not None else ("", "")
            end = never_ran(kind or "signaled", f"asked to end before it was started: {why}")
            self._end(self._held[key], replace(end, signal=number))

    def freeze(self, key: str) -> None:
        """Freeze all its processes; `changed` is called once all have stopped."""
        if self._starts.is_waiting(key):
            waiting = self._held[key]
            waiting.life.frozen = waiting.life.at_rest = True  # no process to freeze yet
            self._changed(waiting)
            return
        held = self._living(key)
        if held is None or held.life.frozen or held.life.phase == "stopping":
            return
        held.life.freeze(boottime_s())
        if held.group is not None:
            held.group.freeze(True)
        else:
            self._census.signal(held, signal.SIGSTOP)
        self._starts.go_on()

    def thaw(self, key: str) -> None:
        """Let its processes continue."""
        held = self._held.get(key)
        if held is None or not held.life.frozen:
            return
        held.life.thaw(boottime_s())
        if held.group is not None:
            held.group.freeze(False)
        elif held.life.pid:
            self._census.signal(held, signal.SIGCONT)
        self._changed(held)
        self._starts.go_on()

    def renew(self, until_s: float) -> None:
        """Extend every task lease. Never shortens one; attempts without a lease get none."""
        for held in self._held.values():
            if held.life.lease_until_s is not None:
                held.life.lease_until_s = max(held.life.lease_until_s, until_s)

    def drop(self, keys: Iterable[str]) -> None:
        """Delete the exit records of these attempts."""
        gone = [key for key in keys if self._ended.pop(key, None) is not None]
        self._journal.put([(key, None) for key in gone])
        self.warden.drop(gone)

    def views(self) -> list[dict[str, Any]]:
        """Views of all attempts, for clients."""
        now_s = boottime_s()
        ended = [view_of_end(key, end) for key, end in self._ended.items()]
        return ended + [held.view(now_s) for held in self._held.values()]

    def _changed(self, held: Held) -> None:
        self._tell(held.life.spec.key, held.view(boottime_s()))

    def pipes(self) -> list[int]:
        """Output pipes of living attempts."""
        ends = (end for held in self._held.values() for end in (held.pipe, held.status_pipe))
        return [end for end in ends if end >= 0]

    def living(self) -> list[str]:
        """Keys of attempts that have not ended."""
        return list(self._held)

    # --- Child processes ----------------------------------------------------------------

    def reap(self) -> None:
        """Collect every ended child, adopted orphans included. Collects all before it acts on one,
        because acting may fork children that are not yet in the table."""
        ended = list(_ended_children())
        living = (held for held in self._held.values() if held.life.status is None)
        roots = {held.life.pid: held for held in living if held.life.pid}
        for pid, status, usage in ended:
            self._census.reaped(pid)
            held = roots.pop(pid, None)
            if held is not None:
                self._root_exited(held, status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)

    def written(self, key: str, error: str) -> None:
        """The warden has written an exit record, or failed to. An end on disk is reported."""
        held = self._held.get(key)
        if held is None or held.end is None:
            return
        if error:
            held.resend_at_s = boottime_s() + RECORD_RETRY_S
            self._log(f"the end of {key} is not on disk yet: {error}")
            self._changed(held)
            return
        held.release()
        del self._held[key]
        self._ended[key] = held.end
        self._tell(key, view_of_end(key, held.end))

    def hand_over_all(self, warden: WardenLine, pid: int) -> None:
        """Hand all output over to a new warden, which replaces one that died."""
        self.warden, self._census.warden_pid = warden, pid
        for held in self._held.values():
            if held.pipe >= 0:
                self._hand_over(held)
            if held.end is not None:
                self._send_end(held, held.end)

    def tick(self) -> None:
        """Do what is due."""
        now_s = boottime_s()
        for held in list(self._held.values()):
            self._do_due(held, now_s)
        if now_s >= self._usage_at_s:
            self._usage_at_s = now_s + USAGE_PERIOD_S
            self._measure()

    def next_s(self) -> float | None:
        """When `tick` is next needed."""
        now_s = boottime_s()
        times = [
            held.life.next_s(now_s) if held.end is None else held.resend_at_s
            for held in self._held.values()
        ]
        if times:
            times.append(self._usage_at_s)
        return min((time for time in times if time is not None), default=None)

    # --- Ending -------------------------------------------------------------------------

    def _hand_over(self, held: Held) -> None:
        spec = held.life.spec
        try:
            self.warden.open(
                spec.key,
                held.folder,
                held.life.pid,
                held.group_path,
                spec.log_limit_bytes,
                held.pipe,
            )
        except OSError:  # dead or stuck: the next warden takes over all pipes
            if self._census.warden_pid:
                send_signal(self._census.warden_pid, signal.SIGKILL)

    def _do_due(self, held: Held, now_s: float) -> None:
        if held.end is not None:
            if now_s >= held.resend_at_s:
                self._send_end(held, held.end)
            return
        match held.life.due(now_s):
            case Due.STOP:
                limit = held.life.spec.runtime_limit_s
                asked = Asked("runtime_limit", f"ran for its limit of {limit:g} s")
                self.stop(held.life.spec.key, held.life.spec.grace_s, asked)
            case Due.KILL:
                self.kill(held.life.spec.key, held.life.kill_reason(now_s))
            case Due.NOT_STARTED:
                self._starts.give_up(held)
            case Due.LOOK:
                self._look(held, now_s)
            case Due.GIVE_UP:
                held.life.leftovers = sorted(p.pid for p in self._census.of(held))
                self._census.give_up(held.life.leftovers)
                self._starts.leave(held)
                self._end(held, held.describe_end())
            case Due.NOTHING:
                pass

    def _tell_to_stop(self, held: Held, asked: Asked) -> None:
        try:
            write_notice(f"{held.folder}.{STOP_FILE}", asked.why)
        except OSError as error:  # the signal serves as notice
            self._log(f"no stop notice for {held.life.spec.key}: {error}")
        self._census.signal(held, signal.SIGTERM)
        if held.life.frozen:  # a frozen process handles no signal but SIGKILL
            self.thaw(held.life.spec.key)
        self._changed(held)

    def _kill(self, held: Held) -> None:
        if held.group is not None:
            held.group.kill()
        self._census.signal(held, signal.SIGKILL)

    def _root_exited(self, held: Held, status: int, cpu_s: float, max_rss_kib: int) -> None:
        life = held.life
        life.status = status
        life.exited_boot_s = boottime_s()
        life.cpu_s = max(life.cpu_s, cpu_s)
        life.max_rss_bytes = max(life.max_rss_bytes, max_rss_kib * 1024)
        self._starts.reaped(held)
        self._look(held, life.exited_boot_s)
        if held.end is None:  # other processes of it remain
            self._changed(held)

    def _look(self, held: Held, now_s: float) -> None:
        life = held.life
        if life.frozen and life.status is None and life.killed_at_s is None:
            self._look_at_rest(held)
        elif life.status is not None and self._census.is_gone(held):
            self._end(held, held.describe_end())
        elif life.killed_at_s is not None:
            self._kill(held)
        elif life.status is not None and (life.kill_at_s is None or now_s >= life.kill_at_s):
            life.ask_kill(None, now_s)
            self._kill(held)

    def _look_at_rest(self, held: Held) -> None:
        if held.group is not None:
            held.life.at_rest = held.group.is_frozen()
        else:
            moving = tree.moving(self._census.of(held))
            for pid in moving:
                send_signal(pid, signal.SIGSTOP)
            held.life.at_rest = not moving
        if held.life.at_rest:
            self._changed(held)

    def _failed(self, held: Held, kind: str, detail: str) -> None:
        """Its program will never run; end the attempt, and its process if it has one."""
        held.failure = (kind, detail)
        if held.life.pid == 0:
            self._end(held, held.describe_end())
        elif held.life.status is None and held.life.ask_kill(None, boottime_s()):
            if held.group is not None:
                held.group.kill()
            send_signal(held.life.pid, signal.SIGKILL)  # it has no other processes yet

    def _end(self, held: Held, end: ExitRecord) -> None:
        """End the attempt: have the rest of its log and its exit record written; see `written`."""
        held.end = end
        self._send_end(held, end)

    def _send_end(self, held: Held, end: ExitRecord) -> None:
        held.resend_at_s = boottime_s() + RESEND_S
        try:
            self.warden.finish(held.life.spec.key, end.to_json())
        except OSError:  # stuck or dead: it is asked again, or its successor is
            return

    # --- Processes ----------------------------------------------------------------------

    def _living(self, key: str) -> Held | None:
        held = self._held.get(key)
        return held if held is not None and held.life.pid else None

    def _measure(self) -> None:
        if not self.living():
            return
        oom_kills = host_oom_kills()
        for key, processes in self._census.all().items():
            self._held[key].life.oom_kills_before = oom_kills
            self._held[key].measure(processes)


def _ended_children() -> Iterator[tuple[int, int, struct_rusage]]:
    """Process number, wait status and usage of each ended child; the child is reaped."""
    with suppress(ChildProcessError):
        while (child := os.wait4(-1, os.WNOHANG))[0]:
            yield child
