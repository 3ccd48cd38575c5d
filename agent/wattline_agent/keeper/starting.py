"""From a spec to a running first process with its environment, cgroup and output pipe."""

import fcntl
import functools
import json
import os

from wattline_agent.keeper import spawn, tree
from wattline_agent.keeper.account import PERSONAL, Account
from wattline_agent.keeper.cgroup import Group, Site
from wattline_agent.keeper.held import Held, boot_id
from wattline_agent.keeper.journal import Journal
from wattline_agent.keeper.spec import MARKER, TaskSpec

PIPE_BYTES = 256 * 1024
"""Output a task can write before the warden has to run."""


def start(held: Held, site: Site, starts: Journal) -> None:
    """Start the attempt. Raises NotStarted, or OSError when something could not be set up."""
    spec = held.life.spec
    env = _environment(spec, held.folder)
    path = "" if spec.run_as else _command(spec, env)
    held.group = Group.make(site, spec.key, spec.cpus, spec.memory_bytes)
    _note_start(held, starts)  # before the fork: what dies between the two is found all the same
    _fork(held, path, env)
    _note_start(held, starts)


def _command(spec: TaskSpec, env: dict[str, str]) -> str:
    return spawn.resolve_command(spec.argv[0], env.get("PATH", spawn.DEFAULT_PATH), spec.cwd)


def _fork(held: Held, path: str, env: dict[str, str]) -> None:
    spec = held.life.spec
    held.pipe, output = os.pipe()
    try:
        _widen(held.pipe)
        held.life.pid = spawn.spawn(
            spawn.Launch(
                path,
                spec.argv,
                env,
                spec.cwd,
                output,
                spec.rlimits,
                Account(spec.run_as, spec.own, spec.make) if spec.run_as else None,
                held.group_path,
            )
        )
    finally:
        os.close(output)


@functools.cache
def _own_environment() -> dict[str, str]:
    """The keeper's own, as it is when the first task starts: nothing changes it after that."""
    return dict(os.environ)


def _environment(spec: TaskSpec, folder: str) -> dict[str, str]:
    own = _own_environment()
    if spec.run_as:
        own = {name: value for name, value in own.items() if name not in PERSONAL}
    env = {**own, **spec.env}
    for name, addition in spec.env_append.items():
        env[name] = f"{env[name]}:{addition}" if env.get(name) else addition
    env[MARKER] = folder
    return env


def _note_start(held: Held, starts: Journal) -> None:
    """What a successor needs to find what is left of this attempt."""
    pid = held.life.pid
    ticks = tree.start_ticks(pid) if pid else 0
    note = (
        f'{{"boot_id":"{boot_id()}","pid":{pid},"start_ticks":{ticks},'
        f'"started_unix_s":{held.life.started_unix_s!r},"cgroup":{json.dumps(held.group_path)}}}'
    )
    starts.put([(held.life.spec.key, note.encode())])


def _widen(pipe: int) -> None:
    try:
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    except PermissionError:  # the user's pipe quota is used up; the default size works too
        return
