"""`python -m wattline_agent.keeper --state-dir DIR`: run the keeper of a node in the foreground."""

import argparse
import fcntl
import hashlib
import os
import socket
import sys
import time
from pathlib import Path

from wattline_agent.keeper import predecessor, spawn
from wattline_agent.keeper.attempt import boot_id
from wattline_agent.keeper.logfile import LogWriter
from wattline_agent.keeper.processes import cgroup
from wattline_agent.keeper.server import Server, StateDirGone, listen
from wattline_agent.keeper.spec import LOCK_NAME, SOCKET_NAME, TASKS_DIR

LOG_LIMIT_BYTES = 1024 * 1024
LOCK_PATIENCE_S = 10.0
"""The warden of a previous keeper holds the lock until its tasks have ended: at most 5 s."""
LOCK_POLL_S = 0.05
EXIT_IN_USE = 3
EXIT_STATE = 74
AUTOGROUP = Path("/proc/self/autogroup")
"""Written only in a session of our own: the value applies to every process of the session."""


def _lock(state_dir: Path) -> int | None:
    """Take the lock for the life of this process. Returns None when another keeper holds it."""
    lock = os.open(state_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    until_s = time.monotonic() + LOCK_PATIENCE_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until_s:
                os.close(lock)
                return None
            time.sleep(LOCK_POLL_S)
        else:
            return lock


def _hurry() -> bool:
    """Raise the keeper's CPU priority: the process's niceness, and the autogroup's (sched(7)),
    because with autogroups a process's niceness counts only within its session."""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, spawn.KEEPER_NICENESS)
        if os.getsid(0) == os.getpid() and AUTOGROUP.exists():
            AUTOGROUP.write_text(str(spawn.KEEPER_NICENESS))
    except OSError:
        return False
    return True


def _notify_systemd(log: "Log") -> None:
    """Notify systemd that the socket answers (sd_notify(3)), if it expects that. Removes the
    address from the environment, because tasks inherit it and must not notify in our name."""
    address = os.environ.pop("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
        try:
            line.sendto(b"READY=1", address.replace("@", "\0", 1))
        except OSError as error:
            log(f"cannot notify {address}: {error.strerror}")


class Log:
    """The keeper's own log, `keeper/log` in the state directory, truncated to a bounded size."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        self._writer = LogWriter(f"{folder}/", LOG_LIMIT_BYTES)

    def __call__(self, words: str) -> None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._writer.write(f"{stamp} {words}\n".encode())


def main() -> int:
    """Returns exit status 0 after an orderly end, 3 when a keeper already runs here, 74 when its
    state directory was deleted."""
    parser = argparse.ArgumentParser(prog="wattline_agent.keeper", description=__doc__)
    parser.add_argument(
        "--state-dir", type=Path, required=True, help="state directory of the agent"
    )
    parser.add_argument(
        "--no-cgroup", action="store_true", help="track tasks by session and /proc only"
    )
    arguments = parser.parse_args()
    state_dir = arguments.state_dir.resolve()
    os.chdir("/")  # a keeper is long-lived and should pin no mount but its own
    tasks = state_dir / TASKS_DIR
    tasks.mkdir(mode=0o700, parents=True, exist_ok=True)
    tasks.chmod(0o711)  # each task's account must be able to reach its directory below
    lock = _lock(state_dir)
    if lock is None:
        print(f"another keeper runs in {state_dir}", file=sys.stderr)
        return EXIT_IN_USE
    log = Log(state_dir / "keeper")
    if not _hurry():
        log("no permission to raise its priority: tasks start later on a busy host")
    spawn.prctl(spawn.PR_SET_CHILD_SUBREAPER, 1)
    ended = predecessor.settle(state_dir, boot_id(), log)
    name = "wattline-" + hashlib.sha256(str(state_dir).encode()).hexdigest()[:12]
    site = cgroup.NO_SITE if arguments.no_cgroup else cgroup.discover(name)
    log(f"keeper {os.getpid()} begins; {site.words}; tasks start by {spawn.method()}")
    server = Server(state_dir, site, ended, listen(state_dir), lock, log)
    _notify_systemd(log)
    try:
        server.run()
    except StateDirGone as error:
        print(error, file=sys.stderr)
        return EXIT_STATE
    (state_dir / SOCKET_NAME).unlink(missing_ok=True)
    cgroup.remove_site(site)
    log("keeper ends")
    return 0


if __name__ == "__main__":
    sys.exit(main())
