"""Runs `podman run` for a task, so that nothing of the container outlives the task.

The agent starts it in place of the command: `enter_container.py PLAN`, a JSON object. It runs as
the account of the task, and so does podman. It enters a mount namespace of its own, for an account
also a user namespace, and hides podman's runtime directories there: all that podman mounts is gone
when the last process of the task is, however that ends. The writable layer and podman's records
are in the task's directory, and are removed with it; images are read from the site's store.

It stays the parent of all processes of the container, and ends as the command has ended.

Standard library only, one file: it runs isolated, and without this package.
"""

from __future__ import annotations

import ctypes
import json
import os
import pwd
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

MARKER = "WATTLINE_TASK_DIR"
PODMAN_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
OF_HOST = frozenset(
    {"PATH", "LD_LIBRARY_PATH", "HOME", "USER", "LOGNAME", "SHELL", "XDG_RUNTIME_DIR"}
)
"""Variables that describe the host or its account; the image has its own."""
CONF, ENV_FILE = "containers.conf", "env"
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - of the host
CGROUPS, UNIFIED = "/sys/fs/cgroup", "/sys/fs/cgroup/unified"
CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1)
"""Ignored rather than handled: the keeper sends one to the topmost programs that handle it."""
UNABLE_STATUS = 125
"""As of podman itself where it cannot start a container."""
SIGNALED_STATUS = 128
"""A program that a signal ended has this and the number of the signal as its status."""
ENDING_SIGNALS = frozenset(signal.valid_signals()) - {
    *(signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH),
    *(signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU),
}

_libc = ctypes.CDLL(None, use_errno=True)


class Unable(Exception):
    """The container cannot be started; the text says why."""


def main(argv: list[str]) -> None:
    """Run the container of the plan; ends as its command has ended."""
    try:
        status = run(json.loads(argv[1]), dict(os.environ))
    except (Unable, OSError) as error:
        print(f"container: {error}; see wattline agent --check", file=sys.stderr)
        sys.exit(UNABLE_STATUS)
    if status - SIGNALED_STATUS in ENDING_SIGNALS:
        _end_by(status - SIGNALED_STATUS)
    sys.exit(status)


def _end_by(number: int) -> None:
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def run(plan: dict[str, Any], env: dict[str, str]) -> int:
    """Exit status of podman, and so of the command. Raises Unable, OSError."""
    libraries = env.get("LD_LIBRARY_PATH", "").split(":") if plan["is_simulated"] else []
    plan["mounts"] += filter(os.path.isdir, libraries)
    podman = shutil.which("podman", path=PODMAN_PATH)
    if podman is None:
        raise Unable(f"podman is not in {PODMAN_PATH}")
    folder = f"{env[MARKER]}/.wattline-podman"
    Path(folder, "run").mkdir(0o700, parents=True, exist_ok=True)
    uid, gid = os.geteuid(), os.getegid()
    try:
        home = pwd.getpwuid(uid).pw_dir
    except KeyError:
        raise Unable(f"this host has no account with the number {uid}") from None
    images = image_store(plan["images"], uid, home)
    enter_namespaces(folder, uid, gid)
    ours = podman_env(folder, uid, gid)
    Path(folder, CONF).write_text(conf_text(env[MARKER]), encoding="utf-8")
    Path(folder, ENV_FILE).write_text(env_file_text(env, plan["env"], ours), encoding="utf-8")
    group = own_group(Path("/proc/self/cgroup").read_text(encoding="utf-8"))
    names, cwd = env.keys() - ours, str(Path.cwd())
    command = podman_argv(plan, folder, images, names, "" if uid else group, cwd)
    return _wait_for(podman, command, {**env, **ours})


def _wait_for(podman: str, command: list[str], env: dict[str, str]) -> int:
    """Run podman, and collect what else ends meanwhile. What it leaves is the keeper's to end."""
    _check(_libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "subreaper")
    child = os.fork()
    if child == 0:
        try:
            os.execve(podman, command, env)  # noqa: S606 - no shell wanted
        finally:
            os._exit(UNABLE_STATUS)
    for number in STOP_SIGNALS:  # podman passes them on
        signal.signal(number, signal.SIG_IGN)
    while True:
        pid, ended = os.wait()
        if pid == child:
            status = os.waitstatus_to_exitcode(ended)
            return status if status >= 0 else SIGNALED_STATUS - status


def image_store(written: str, uid: int, home: str) -> str:
    """Path of the store of images; without one of the site file, podman's own of the account."""
    usual = "/var/lib/containers/storage" if uid == 0 else "~/.local/share/containers/storage"
    path = written or usual
    return f"{home}{path[1:]}" if path.startswith("~/") else path


def conf_text(task_dir: str) -> str:
    """Settings of podman that have no flag. The monitor of the container carries the mark of the
    task; locks are files in a hidden directory, since those in shared memory would stay."""
    mark = json.dumps(f"{MARKER}={task_dir}")
    return (
        "[containers]\npids_limit = 0\n"  # that of the task's control group applies
        f'[engine]\nlock_type = "file"\nevents_logger = "none"\nconmon_env_vars = [{mark}]\n'
    )


def env_file_text(env: Mapping[str, str], of_job: Collection[str], ours: Collection[str]) -> str:
    """Variables of the job that podman itself has other values of. Raises Unable."""
    found = {name: env[name] for name in of_job if name in ours}
    if bad := [name for name, value in found.items() if "\n" in value]:
        raise Unable(f"{bad[0]} must be one line in a container")
    return "".join(f"{name}={value}\n" for name, value in found.items())


def podman_env(folder: str, uid: int, gid: int) -> dict[str, str]:
    """Variables for podman, which reads no settings in the account's home. That of an account is
    in its user namespace already, and makes no other."""
    found = {"CONTAINERS_CONF_OVERRIDE": f"{folder}/{CONF}", "HOME": folder}
    if uid == 0:
        return found
    return found | {
        "XDG_RUNTIME_DIR": f"{folder}/run",
        "_CONTAINERS_USERNS_CONFIGURED": "done",
        "_CONTAINERS_ROOTLESS_UID": str(uid),
        "_CONTAINERS_ROOTLESS_GID": str(gid),
    }


def own_group(text: str) -> str:
    """Path of the cgroup v2 in the text of /proc/self/cgroup; empty = none, or the root."""
    paths = [line[3:] for line in text.splitlines() if line.startswith("0::/")]
    return paths[0].rstrip("/") if paths else ""


def podman_argv(
    plan: dict[str, Any],
    folder: str,
    images: str,
    names: Collection[str],
    group: str,
    cwd: str,
) -> list[str]:
    """The command line of podman, with the `names` of variables and without their values. Raises
    Unable."""
    if ":" in cwd:  # it parts a path from its mode
        raise Unable(f"podman mounts no directory with a colon: {cwd}")
    passed = [name for name in sorted(names) if name not in OF_HOST or name in plan["env"]]
    return [
        "podman",
        "--log-level=error",
        f"--root={folder}/storage",
        f"--runroot={folder}/run/storage",
        f"--tmpdir={folder}/run/libpod",
        "--storage-driver=overlay",
        f"--storage-opt=overlay.imagestore={images}",
        "--cgroup-manager=cgroupfs",
        # Records, which have the values of variables, in a hidden tmpfs instead of its directory.
        *(["--transient-store"] if plan.get("has_secrets") else []),
        *([f"--runtime={plan['runtime']}"] if plan["runtime"] else []),
        "run",
        "--rm",
        "--pull=never",
        "--log-driver=passthrough",
        # The rights of the task's account, and none beside them.
        *("--user=0:0", "--cap-drop=all", "--security-opt=no-new-privileges"),
        # As a process of the host: its ports, shared memory, limits, and signals that end it.
        *("--network=host", "--ipc=none", "--pid=host", "--ulimit=host", "--http-proxy=false"),
        "--cgroups=no-conmon",
        *([f"--cgroup-parent={group}"] if group else []),
        *(f"--device={device}" for device in plan["devices"]),
        *_volumes([*plan["mounts"], cwd, SHARED_MEMORY]),
        f"--env-file={folder}/{ENV_FILE}",
        *(f"--env={name}" for name in passed),
        f"--workdir={cwd}",
        "--entrypoint=",
        "--",
        plan["image"],
        *plan["command"],
    ]


def _volumes(folders: list[str]) -> list[str]:
    """Flags for each PATH or PATH:ro, at the same path inside; the first of a path counts."""
    modes: dict[str, str] = {}
    for written in folders:
        path, _, mode = written.partition(":")
        if path != "/":
            modes.setdefault(path, mode or "rw")
    return [
        f"--volume={path}:{path}:{mode}"
        for path, mode in modes.items()
        if not any(modes.get(str(above)) == mode for above in Path(path).parents)
    ]


def enter_namespaces(folder: str, uid: int, gid: int) -> None:
    """Own mounts, for an account as root of a user namespace in which only it exists. Raises
    Unable, OSError."""
    _check(_libc.unshare(CLONE_NEWNS | (CLONE_NEWUSER if uid else 0)), "unshare")
    if uid:
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1", encoding="ascii")
        _check(_libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "parent")  # was cleared
    _mount("none", "/", "", MS_REC | MS_PRIVATE)
    _mount("tmpfs", f"{folder}/run", "tmpfs", 0)
    if Path(UNIFIED, "cgroup.procs").exists():  # hybrid: the task's group is there
        _mount(UNIFIED, CGROUPS, "", MS_BIND)


def _mount(source: str, target: str, kind: str, flags: int) -> None:
    words = (source.encode(), target.encode(), kind.encode() or None)
    _check(_libc.mount(*words, flags, None), f"mount {target}")


def _check(result: int, what: str) -> None:
    if result != 0:
        raise Unable(f"{what}: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    main(sys.argv)
