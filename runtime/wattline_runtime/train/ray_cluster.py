"""Runs Ray over the nodes of a gang, and the command on the first of them.

The agent starts it in place of the command: `ray_cluster.py PLAN COMMAND…`; PLAN is a JSON object.
The node of rank 0 listens at the gang's port, starts Ray's head, and sends the others its address;
each starts Ray on its node and answers. The command runs once all have, with RAY_ADDRESS. When it
ends, so do the others; the keeper ends what Ray has started on their nodes.

One file beside rendezvous.py, Python 3.9 or later: it runs in the environment of the command, which
has Ray.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

UNABLE_STATUS = 1
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1)
JOIN_WITHIN_S = 600.0
"""How long the other nodes of the gang are waited for, as by torchrun."""
TRY_S = 0.2
MAX_LINE_BYTES = 4096
END = "end"
SHORT_DIR = "/tmp/wl-ray-"  # noqa: S108 - a link of a random name, see `_short_dir`
"""Ray's sockets are below it: a path of theirs has at most 107 characters."""
OBJECT_STORE_SHARE = 0.3
"""Of the memory limit, as Ray takes of a host's memory."""
PR_SET_CHILD_SUBREAPER = 36
START = "from ray.scripts.scripts import main; main()"
NO_RAY = "this python has no Ray: pip install 'ray[default]' in the environment of the job"


class Unable(Exception):
    """The gang has no cluster; the text says why."""


def main(argv: list[str]) -> None:
    """Run this node's part; ends as the command has ended."""
    plan, command = json.loads(argv[0]), argv[1:]
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        status = _lead(plan, command) if plan["node_rank"] == 0 else _follow(plan)
    except (Unable, OSError) as error:
        print(f"ray: {error}", file=sys.stderr)
        sys.exit(UNABLE_STATUS)
    if status < 0:
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


def _lead(plan: dict[str, Any], command: list[str]) -> int:
    """The first node: head, others, command. Returns its status; negative = the signal."""
    name = "rendezvous" if __name__ == "__main__" else f"{__package__}.rendezvous"
    listener: socket.socket = import_module(name).listen(plan["host"], plan["port"])
    listener.settimeout(JOIN_WITHIN_S)
    address, gcs_port = socket.gethostbyname(plan["host"]), free_port()
    with _short_dir(f"{SHORT_DIR}{secrets.token_hex(8)}") as link:
        _start([*head_flags(gcs_port, link), *node_flags(plan, address)])
        gcs = f"{address}:{gcs_port}"
        others = [_greet(listener, gcs, link) for _ in range(plan["nodes"] - 1)]
        for other in others:
            if not _hear(other):
                raise Unable("a node of the gang has left before Ray was started there")
        status = _run(command, gcs)
        for other in others:
            with contextlib.suppress(OSError):
                _say(other, END)
        return status


def _follow(plan: dict[str, Any]) -> int:
    """Another node: Ray, until the command has ended."""
    line, own_address = _join(plan["host"], plan["port"])
    head = json.loads(_hear(line) or "{}")
    if not head:
        raise Unable("the first node of the gang has ended before Ray was started there")
    with _short_dir(head["temp"]):
        _start([f"--address={head['gcs']}", *node_flags(plan, own_address)])
        _ignore_stops()
        _say(line, "joined")
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # of Ray's processes none is waited for
        if _hear(line) != END:
            raise Unable("the first node of the gang has gone")
        return 0


def head_flags(port: int, temp: str) -> list[str]:
    """Flags of `ray start` on the first node."""
    return [
        "--head",
        f"--port={port}",
        f"--temp-dir={temp}",
        "--include-dashboard=false",
        *([f"--ray-client-server-port={free_port()}"] if find_spec("grpc") else []),
    ]


def node_flags(plan: dict[str, Any], address: str) -> list[str]:
    """Flags of `ray start` on each node: what the job was given of it, and ports of the kernel's
    choice, since several clusters may share the node."""
    memory = plan["memory_bytes"]
    store = int(memory * OBJECT_STORE_SHARE)
    limits = [f"--memory={memory - store}", f"--object-store-memory={store}"] if memory else []
    return [
        f"--node-ip-address={address}",
        f"--num-gpus={plan['gpus']}",
        *([f"--num-cpus={plan['cpus']}"] if plan["cpus"] else []),
        *limits,
        *("--min-worker-port=0", "--max-worker-port=0"),
        *("--dashboard-agent-listen-port=0", "--disable-usage-stats"),
    ]


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
        return port


def _start(flags: list[str]) -> None:
    """Start Ray on this node. Raises Unable."""
    env = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run([sys.executable, "-c", START, "start", *flags], env=env, check=False)
    if done.returncode != 0:
        has_none = subprocess.run([sys.executable, "-c", "import ray"], check=False).returncode
        raise Unable(NO_RAY if has_none else f"ray start has failed with {done.returncode}")


def _ignore_stops() -> None:
    """The command gets them too, and decides when the gang ends. Ignored rather than handled: the
    keeper sends one to the topmost programs that handle it."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _run(command: list[str], gcs: str) -> int:
    """Run the command, and collect what else ends meanwhile. Returns its status."""
    env = {**os.environ, "RAY_ADDRESS": gcs, "RAY_USAGE_STATS_ENABLED": "0"}
    driver = subprocess.Popen(command, env=env)
    _ignore_stops()
    while True:
        pid, ended = os.wait()
        if pid == driver.pid:
            return os.waitstatus_to_exitcode(ended)


@contextlib.contextmanager
def _short_dir(name: str) -> Iterator[str]:
    """A link to Ray's directory in the task's own: of the same name on each node, for Ray takes
    that of the first. Raises Unable where another account has it."""
    private = f"{os.environ['WATTLINE_TASK_DIR']}/.wattline-ray"
    folder = f"{private}/files"  # Ray opens it to all
    os.makedirs(folder, exist_ok=True)  # noqa: PTH103
    os.chmod(private, 0o700)  # noqa: PTH101
    try:
        os.symlink(folder, name)  # noqa: PTH211
    except FileExistsError:  # of a node of the gang on the same host
        if os.lstat(name).st_uid != os.geteuid():
            raise Unable(f"{name} belongs to another account") from None
    try:
        yield name
    finally:
        with contextlib.suppress(FileNotFoundError):  # removed by another on the same host
            os.unlink(name)  # noqa: PTH108


def _greet(listener: socket.socket, gcs: str, temp: str) -> Any:
    try:
        connection, _ = listener.accept()
    except TimeoutError:
        raise Unable(f"a node of the gang has not come in {JOIN_WITHIN_S:.0f} s") from None
    connection.settimeout(JOIN_WITHIN_S)
    line = connection.makefile("rw", encoding="utf-8")
    _say(line, json.dumps({"gcs": gcs, "temp": temp}))
    return line


def _join(host: str, port: int) -> tuple[Any, str]:
    """The line to the first node, and our own address on it. Raises Unable."""
    tries = int(JOIN_WITHIN_S / TRY_S)
    for _ in range(tries):
        try:
            connection = socket.create_connection((host, port), JOIN_WITHIN_S)
        except ConnectionRefusedError:  # it comes later
            signal.sigtimedwait((), TRY_S)
            continue
        address: str = connection.getsockname()[0]
        connection.settimeout(None)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return connection.makefile("rw", encoding="utf-8"), address
    raise Unable(f"{host}:{port} has not answered in {JOIN_WITHIN_S:.0f} s")


def _hear(line: Any) -> str:
    """The next line; empty once the other end is gone."""
    try:
        text: str = line.readline(MAX_LINE_BYTES)
    except ConnectionError:
        return ""
    return text.strip()


def _say(line: Any, text: str) -> None:
    line.write(f"{text}\n")
    line.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
