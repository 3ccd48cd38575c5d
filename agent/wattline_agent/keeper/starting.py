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
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from wattline_agent.keeper import spawn
from wattline_agent.keeper.attempt import Held, boot_id, boottime_s
from wattline_agent.keeper.environment import own_variables, passed
from wattline_agent.keeper.journal import Journal
from wattline_agent.keeper.life import START_PATIENCE_S
from wattline_agent.keeper.mounts import Elsewhere, Mounts
from wattline_agent.keeper.processes import tree
from wattline_agent.keeper.processes.account import Account
from wattline_agent.keeper.processes.cgroup import Group, Site
from wattline_agent.keeper.processes.command import (
    DEFAULT_PATH,
    NotStarted,
    resolve_command,
    why_not_in,
)
from wattline_agent.keeper.processes.interpreters import touch_interpreters
from wattline_agent.keeper.spec import MARKER, TaskSpec

PIPE_BYTES = 256 * 1024
"""Output a task can write before the warden has to run."""
MAX_UNDER_WAY = 32
"""Maximum of children between fork and exec: each needs its share of a processor."""
MAX_LOOKED = 64
"""Maximum of paths the keeper checks per start: PATH may name thousands, and a child has time."""


@dataclass(frozen=True, slots=True)
class Loop:
    """The keeper's loop: calls a function while a descriptor is readable, until `forget`."""

    watch: Callable[[int, Callable[[], None]], None]
    forget: Callable[[int], None]


@dataclass(frozen=True, slots=True)
class StartCallbacks:
    """Callbacks for the outcome of a start."""

    forked: Callable[[Held], None]
    """The attempt has a process."""
    runs: Callable[[Held], None]
    """The child has executed its program."""
    failed: Callable[[Held, str, str], None]
    """The program will never run: kind and message. A process of it, if any, is to be ended."""


class Planned(NamedTuple):
    """A start with everything resolved."""

    held: Held
    path: str
    """Empty = the child resolves program and working directory."""
    cwd: str
    env: dict[str, str]

    @property
    def account(self) -> str:
        """Account of the task; empty = the keeper's own."""
        return self.held.life.spec.run_as

    def launch(self, output: int = -1) -> spawn.Launch:
        """Parameters of `spawn`."""
        spec = self.held.life.spec
        account = Account(spec.run_as, spec.own, spec.make) if spec.run_as else None
        return spawn.Launch(
            self.path,
            spec.argv,
            self.env,
            self.cwd,
            output,
            spec.rlimits,
            account,
            self.held.group_path,
            "" if spec.run_as else spec.make,
            "" if self.path else spec.prefer_cwd,
        )


class Starts:
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

    def begin(self, held: Held) -> None:
        """Start the attempt, now or when its turn comes."""
        self._try(held, lambda: self._begin(held))
        self.go_on()

    def go_on(self) -> None:
        """Fork queued starts up to the limit. A frozen one stays queued and blocks no other."""
        while self._moving() < MAX_UNDER_WAY and (planned := self._next()) is not None:
            del self._waiting[planned.held.life.spec.key]
            self._try(planned.held, functools.partial(self._fork, planned))

    def _moving(self) -> int:
        return sum(not planned.held.life.frozen for planned in self._under_way.values())

    def _next(self) -> Planned | None:
        """First queued start of the account with the fewest children under way, so that an account
        whose starts hang does not block the others for long."""
        busy = Counter(planned.account for planned in self._under_way.values())
        ready = (planned for planned in self._waiting.values() if not planned.held.life.frozen)
        return min(ready, key=lambda planned: busy[planned.account], default=None)

    def is_waiting(self, key: str) -> bool:
        """The attempt has no process yet."""
        return key in self._waiting

    def withdraw(self, key: str) -> bool:
        """Remove it from the queue. False when it was not queued."""
        return self._waiting.pop(key, None) is not None

    def reaped(self, held: Held) -> None:
        """Its process has ended: read what it reported, if that was not done yet. The pipe may not
        be at its end, because a name service has inherited it."""
        planned = self._under_way.get(held.life.spec.key)
        if planned is not None:
            self._hear(planned, is_dead=True)

    def leave(self, held: Held) -> None:
        """The attempt is over, though its process may still exist."""
        if held.life.spec.key in self._under_way:
            self._close(held)
            self.go_on()

    def give_up(self, held: Held) -> None:
        """Give up a start that takes too long."""
        words = f"{held.life.spec.argv[0]}: no exec within {START_PATIENCE_S:g} s"
        self._close(held)
        self._callbacks.failed(held, "not_startable", words)
        self.go_on()

    def _begin(self, held: Held) -> None:
        spec = held.life.spec
        env = _environment(spec, held.folder)
        is_childs = spec.run_as or spec.make  # to resolve, and to create
        cwd, path = (spec.cwd, "") if is_childs else self._command(held, env)
        held.group = Group.make(self._site, spec.key, spec.cpus, spec.memory_bytes)
        self._note(held)  # before the fork: found even after a crash between the two
        planned = Planned(held, path, cwd, env)
        if path and spawn.has_vfork() and self._mounts.is_local(held.folder):
            self._run(planned)
        else:
            self._waiting[spec.key] = planned

    def _command(self, held: Held, env: dict[str, str]) -> tuple[str, str]:
        """Working directory and program path. Empty where resolving or executing it could hang or
        take long: then the child does it."""
        spec, looked = held.life.spec, itertools.count(1)

        def touch(path: str) -> None:
            if next(looked) > MAX_LOOKED:
                raise Elsewhere(path)
            if path != held.folder:  # it is where the keeper itself works and would hang
                self._mounts.touch(path)

        search_path, cwd, note = env.get("PATH", DEFAULT_PATH), spec.cwd, ""
        try:
            if spec.prefer_cwd:
                touch(spec.prefer_cwd)
                cwd, note = _choose_cwd(spec)
            path = resolve_command(spec.argv[0], search_path, cwd, touch)
            touch_interpreters(path, cwd, touch)
        except Elsewhere:
            return spec.cwd, ""
        held.note = note
        return cwd, path

    def _run(self, planned: Planned) -> None:
        held = planned.held
        output = _open_output(held)
        try:
            held.life.pid = spawn.spawn_quick(planned.launch(output))
        finally:
            os.close(output)
        self._has_process(held)

    def _fork(self, planned: Planned) -> None:
        held = planned.held
        output = _open_output(held)
        try:
            pid, held.status_pipe = spawn.fork(planned.launch(output))
        finally:
            os.close(output)
        held.life.forked(pid, boottime_s(), time.time())
        self._under_way[held.life.spec.key] = planned
        self._loop.watch(held.status_pipe, functools.partial(self._hear, planned))
        self._has_process(held)

    def _has_process(self, held: Held) -> None:
        self._note(held)
        self._callbacks.forked(held)

    def _hear(self, planned: Planned, *, is_dead: bool = False) -> None:
        held = planned.held
        if held.status_pipe < 0:  # read in this turn of the loop already, when it was reaped
            return
        heard = spawn.hear(held.status_pipe, planned.launch())
        held.note = heard.note or held.note
        if not heard.is_over and not is_dead:
            return
        self._close(held)
        if heard.problem is not None:
            self._callbacks.failed(held, heard.problem.kind, heard.problem.detail)
        elif held.life.status is None:
            held.life.exec_until_s = None
            self._callbacks.runs(held)
        self.go_on()

    def _close(self, held: Held) -> None:
        del self._under_way[held.life.spec.key]
        self._loop.forget(held.status_pipe)
        os.close(held.status_pipe)
        held.status_pipe = -1

    def _try(self, held: Held, step: Callable[[], None]) -> None:
        try:
            step()
        except NotStarted as error:
            self._callbacks.failed(held, error.kind, error.detail)
        except OSError as error:
            words = f"could not be set up: {error.strerror}: {error.filename or held.folder}"
            self._callbacks.failed(held, "not_startable", words)

    def _note(self, held: Held) -> None:
        """Record what a successor needs to find the processes of this attempt."""
        pid = held.life.pid
        ticks = tree.start_ticks(pid) if pid else 0
        note = (
            f'{{"boot_id":"{boot_id()}","pid":{pid},"start_ticks":{ticks},'
            f'"started_unix_s":{held.life.started_unix_s!r},'
            f'"cgroup":{json.dumps(held.group_path)}}}'
        )
        self._journal.put([(held.life.spec.key, note.encode())])


def _choose_cwd(spec: TaskSpec) -> tuple[str, str]:
    """Working directory, and a remark about it for the user."""
    why = why_not_in(spec.prefer_cwd)
    return (spec.cwd, spawn.elsewhere(spec.prefer_cwd, why)) if why else (spec.prefer_cwd, "")


def _open_output(held: Held) -> int:
    """Create the output pipe and return the end that the task writes to."""
    held.pipe, output = os.pipe()
    _widen(held.pipe)
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
