"""From a spec to a running first process with its environment, cgroup and output pipe.

Theory of operation. With `vfork` a start is immediate. A forked child may hang before exec: its
start is reported at once, it proceeds without blocking the keeper's loop, and its error pipe closes
when it is done. The number of children before exec is limited; further starts are queued.
"""

import fcntl
import functools
import itertools
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from wattline_agent.keeper import spawn
from wattline_agent.keeper.attempt import Attempt, boot_id, boottime_s
from wattline_agent.keeper.environment import own_variables, passed
from wattline_agent.keeper.journal import Journal
from wattline_agent.keeper.life import START_PATIENCE_S
from wattline_agent.keeper.mounts import Mounts, NotLocal
from wattline_agent.keeper.processes import tree
from wattline_agent.keeper.processes.account import Account
from wattline_agent.keeper.processes.cgroup import Group, Site
from wattline_agent.keeper.processes.command import (
    DEFAULT_PATH,
    NotStarted,
    kind_of,
    resolve_command,
    why_not_in,
)
from wattline_agent.keeper.processes.interpreters import touch_interpreters
from wattline_agent.keeper.spec import INVENTORY_FILE, MARKER, TaskSpec

PIPE_BYTES = 256 * 1024
"""Output a task can write before the warden has to run."""
MAX_UNDER_WAY = 32
"""Maximum of children between fork and exec: each needs its share of a processor."""
HELPER_LIMITS = {"core": 0, "fsize": 256 * 1024}
"""A helper may be made to print without end: it runs as the task's account."""
MAX_CHECKED = 64
"""Maximum of paths the keeper checks per start: PATH may name thousands, and a child has time."""


@dataclass(frozen=True, slots=True)
class Loop:
    """The keeper's loop: calls a function while a descriptor is readable, until `forget`."""

    watch: Callable[[int, Callable[[], None]], None]
    forget: Callable[[int], None]


@dataclass(frozen=True, slots=True)
class StartCallbacks:
    """Callbacks for the outcome of a start."""

    forked: Callable[[Attempt], None]
    """The attempt has a process."""
    runs: Callable[[Attempt], None]
    """The child has executed its program."""
    failed: Callable[[Attempt, str, str], None]
    """The program will never run: kind and message. A process of it, if any, is to be ended."""


class Planned(NamedTuple):
    """A start with everything resolved."""

    attempt: Attempt
    path: str
    """Empty = the child resolves program and working directory."""
    cwd: str
    env: dict[str, str]

    @property
    def account(self) -> str:
        """Account of the task; empty = the keeper's own."""
        return self.attempt.life.spec.run_as

    def launch(self, output: int = -1) -> spawn.Launch:
        """Parameters of `spawn`."""
        spec = self.attempt.life.spec
        account = Account(spec.run_as, spec.own, spec.make) if spec.run_as else None
        return spawn.Launch(
            self.path,
            spec.argv,
            self.env,
            self.cwd,
            output,
            spec.rlimits,
            account,
            self.attempt.group_path,
            "" if spec.run_as else spec.make,
            "" if self.path else spec.prefer_cwd,
            spec.env_files,
        )


class Starter:
    """Starts attempts. The outcome of forked children is reported later."""

    def __init__(
        self, site: Site, journal: Journal, loop: Loop, callbacks: StartCallbacks, mounts: Mounts
    ) -> None:
        self._site = site
        self._journal = journal
        self._loop = loop
        self._callbacks = callbacks
        self._mounts = mounts
        self._waiting: dict[str, Planned] = {}
        self._under_way: dict[str, Planned] = {}

    def begin(self, attempt: Attempt) -> None:
        """Start the attempt, now or when its turn comes."""
        self._try(attempt, lambda: self._begin(attempt))
        self.fork_queued()

    def fork_queued(self) -> None:
        """Fork queued starts up to the limit. A frozen one stays queued and blocks no other."""
        while self._moving() < MAX_UNDER_WAY and (planned := self._next()) is not None:
            del self._waiting[planned.attempt.life.spec.key]
            self._try(planned.attempt, functools.partial(self._fork, planned))

    def _moving(self) -> int:
        return sum(not planned.attempt.life.frozen for planned in self._under_way.values())

    def _next(self) -> Planned | None:
        """First queued start of the account with the fewest children under way, so that an account
        whose starts hang does not block the others for long."""
        busy = Counter(planned.account for planned in self._under_way.values())
        ready = (planned for planned in self._waiting.values() if not planned.attempt.life.frozen)
        return min(ready, key=lambda planned: busy[planned.account], default=None)

    def begin_helper(self, attempt: Attempt, argv: Sequence[str]) -> None:
        """Fork a program as the attempt's account, in its environment, directory and cgroup: it is
        signalled, frozen and ended with it. Its output becomes the attempt's inventory; where there
        is one, nothing is started. Raises NotStarted, OSError."""
        spec, flags = attempt.life.spec, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            output = os.open(f"{attempt.folder}.{INVENTORY_FILE}", flags, 0o600)
        except FileExistsError:
            return
        try:
            launch = spawn.Launch(
                "",
                argv,
                _environment(spec, attempt.folder),
                spec.cwd,
                output,
                HELPER_LIMITS,
                Account(spec.run_as) if spec.run_as else None,
                attempt.group_path,
                prefer_cwd=spec.prefer_cwd,
            )
            _, status_pipe = spawn.fork(launch)
        finally:
            os.close(output)
        os.close(status_pipe)  # one that does not start leaves an empty inventory

    def is_waiting(self, key: str) -> bool:
        """The attempt has no process yet."""
        return key in self._waiting

    def withdraw(self, key: str) -> bool:
        """Remove it from the queue. False when it was not queued."""
        return self._waiting.pop(key, None) is not None

    def reaped(self, attempt: Attempt) -> None:
        """Its process has ended: read what it reported, if that was not done yet. The pipe may not
        be at its end, because a name service has inherited it."""
        planned = self._under_way.get(attempt.life.spec.key)
        if planned is not None:
            self._hear(planned, is_dead=True)

    def leave(self, attempt: Attempt) -> None:
        """The attempt is over, though its process may still exist."""
        if attempt.life.spec.key in self._under_way:
            self._close(attempt)
            self.fork_queued()

    def give_up(self, attempt: Attempt) -> None:
        """Give up a start that takes too long."""
        words = f"{attempt.life.spec.argv[0]}: no exec within {START_PATIENCE_S:g} s"
        self._close(attempt)
        self._callbacks.failed(attempt, "not_startable", words)
        self.fork_queued()

    def _begin(self, attempt: Attempt) -> None:
        spec = attempt.life.spec
        env = _environment(spec, attempt.folder)
        is_childs = spec.run_as or spec.make or spec.env_files  # to resolve, create, and read
        cwd, path = (spec.cwd, "") if is_childs else self._command(attempt, env)
        attempt.group = Group.make(self._site, spec.key, spec.cpus, spec.memory_bytes)
        self._note(attempt)  # before the fork: found even after a crash between the two
        planned = Planned(attempt, path, cwd, env)
        if path and spawn.has_vfork() and self._mounts.is_local(attempt.folder):
            self._run(planned)
        else:
            self._waiting[spec.key] = planned

    def _command(self, attempt: Attempt, env: dict[str, str]) -> tuple[str, str]:
        """Working directory and program path. Empty where resolving or executing it could hang or
        take long: then the child does it."""
        spec, checked = attempt.life.spec, itertools.count(1)

        def touch(path: str) -> None:
            if next(checked) > MAX_CHECKED:
                raise NotLocal(path)
            if path != attempt.folder:  # it is where the keeper itself works and would hang
                self._mounts.touch(path)

        search_path, cwd, note = env.get("PATH", DEFAULT_PATH), spec.cwd, ""
        try:
            if spec.prefer_cwd:
                touch(spec.prefer_cwd)
                cwd, note = _choose_cwd(spec)
            path = resolve_command(spec.argv[0], search_path, cwd, touch)
            touch_interpreters(path, cwd, touch)
        except NotLocal:
            return spec.cwd, ""
        attempt.note = note
        return cwd, path

    def _run(self, planned: Planned) -> None:
        attempt = planned.attempt
        output = _open_output(attempt)
        try:
            attempt.life.pid = spawn.spawn_quick(planned.launch(output))
        finally:
            os.close(output)
        self._has_process(attempt)

    def _fork(self, planned: Planned) -> None:
        attempt = planned.attempt
        output = _open_output(attempt)
        try:
            pid, attempt.status_pipe = spawn.fork(planned.launch(output))
        finally:
            os.close(output)
        attempt.life.forked(pid, boottime_s(), time.time())
        self._under_way[attempt.life.spec.key] = planned
        self._loop.watch(attempt.status_pipe, functools.partial(self._hear, planned))
        self._has_process(attempt)

    def _has_process(self, attempt: Attempt) -> None:
        self._note(attempt)
        self._callbacks.forked(attempt)

    def _hear(self, planned: Planned, *, is_dead: bool = False) -> None:
        attempt = planned.attempt
        if attempt.status_pipe < 0:  # read in this turn of the loop already, when it was reaped
            return
        status = spawn.read_status(attempt.status_pipe, planned.launch())
        attempt.note = status.note or attempt.note
        if not status.is_over and not is_dead:
            return
        self._close(attempt)
        if status.problem is not None:
            self._callbacks.failed(attempt, status.problem.kind, status.problem.detail)
        elif attempt.life.status is None:
            attempt.life.exec_until_s = None
            self._callbacks.runs(attempt)
        self.fork_queued()

    def _close(self, attempt: Attempt) -> None:
        del self._under_way[attempt.life.spec.key]
        self._loop.forget(attempt.status_pipe)
        os.close(attempt.status_pipe)
        attempt.status_pipe = -1

    def _try(self, attempt: Attempt, step: Callable[[], None]) -> None:
        try:
            step()
        except NotStarted as error:
            self._callbacks.failed(attempt, error.kind, error.detail)
        except OSError as error:
            words = f"could not be set up: {error.strerror}: {error.filename or attempt.folder}"
            self._callbacks.failed(attempt, kind_of(error.errno), words)
        except (ValueError, OverflowError) as error:  # of a text that no call of the kernel takes
            self._callbacks.failed(attempt, "not_startable", f"could not be set up: {error}")

    def _note(self, attempt: Attempt) -> None:
        """Record what a successor needs to find the processes of this attempt."""
        pid = attempt.life.pid
        ticks = tree.start_ticks(pid) if pid else 0
        note = (
            f'{{"boot_id":"{boot_id()}","pid":{pid},"start_ticks":{ticks},'
            f'"started_unix_s":{attempt.life.started_unix_s!r},'
            f'"cgroup":{json.dumps(attempt.group_path)}}}'
        )
        self._journal.put([(attempt.life.spec.key, note.encode())])


def _choose_cwd(spec: TaskSpec) -> tuple[str, str]:
    """Working directory, and a remark about it for the user."""
    why = why_not_in(spec.prefer_cwd)
    return (spec.cwd, spawn.elsewhere(spec.prefer_cwd, why)) if why else (spec.prefer_cwd, "")


def _open_output(attempt: Attempt) -> int:
    """Create the output pipe and return the end that the task writes to."""
    attempt.pipe, output = os.pipe()
    _widen(attempt.pipe)
    return output


def _environment(spec: TaskSpec, folder: str) -> dict[str, str]:
    personal = {} if spec.run_as else own_variables()
    env = {**passed(spec.pass_env), **personal, **spec.env}
    for name, addition in spec.env_append.items():
        env[name] = f"{env[name]}:{addition}" if env.get(name) else addition
    env[MARKER] = folder
    return env


def _widen(pipe: int) -> None:
    try:
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    except PermissionError:  # the user's pipe quota is used up; the default size works too
        return
