"""Simulated GPU nodes for tests: made in a folder, served by the real physics process or stepped
in virtual time, and looked at by NVML clients in processes of their own (a process can load only
one ``libnvidia-ml.so.1``, so tests never load it themselves).

The driver library is compiled once per content into the user's cache, not once per test.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wattline_sim import control
from wattline_sim.node import NodeDir, prepare
from wattline_sim.physics import STEP_NS, WINDOW_STEPS
from wattline_sim.profiles import load_profile
from wattline_sim.served import SECOND_NS, ServedNode

DEADLINE_S = 60.0
_POLL_S = 0.02

# What every client snippet starts with: NVML is initialised, `gpu(i)` is a handle, `code(f, *a)`
# is the NVML return code of a call (0 for success), `answer(x)` hands x to the test.
_PRELUDE = """
import json, os, sys, threading, time
import pynvml as N
def answer(value):
    print(json.dumps(value), flush=True)
def code(function, *arguments):
    try:
        function(*arguments)
    except N.NVMLError as error:
        return error.value
    return 0
def gpu(index):
    return N.nvmlDeviceGetHandleByIndex(index)
def fields(index, ids):
    kinds = {0: "dVal", 1: "uiVal", 2: "ulVal", 3: "ullVal", 4: "sllVal", 5: "siVal"}
    return [
        (v.nvmlReturn, getattr(v.value, kinds[v.valueType]))
        for v in N.nvmlDeviceGetFieldValues(gpu(index), ids)
    ]
"""


def wait_until(condition: Callable[[], bool], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Poll ``condition``; AssertionError naming ``what`` if it does not come true in time."""
    end_s = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end_s, f"not within {deadline_s:g} s: {what}"
        time.sleep(_POLL_S)


def make_node(
    directory: Path, *, model: str = "h100", gpus: int = 8, seed: int = 1, name: str = "sim0"
) -> NodeDir:
    """Prepare a node in ``directory``; nothing runs yet."""
    return prepare(directory, model=model, gpus=gpus, seed=seed, name=name)


@contextmanager
def serving(*nodes: NodeDir) -> Iterator[subprocess.Popen[str]]:
    """Run one physics process for these nodes; it has published when the block begins, and it is
    gone when the block ends."""
    folders = [argument for node in nodes for argument in ("--dir", str(node.path))]
    command = [sys.executable, "-m", "wattline_sim.node", "--exit-with-parent", *folders]
    began_ns = time.monotonic_ns()
    with subprocess.Popen(command, text=True, stderr=subprocess.PIPE) as process:
        try:
            wait_until(
                lambda: (
                    process.poll() is not None
                    or all(control.heartbeat_ns(node.path) > began_ns for node in nodes)
                ),
                "first physics step",
            )
            yield process
        finally:
            process.terminate()
            _, stderr = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, stderr


class VirtualNode:
    """A node without a physics process: the test is the clock."""

    def __init__(self, node: NodeDir) -> None:
        self.node = node
        self.served = ServedNode(node)
        self._end_ns = time.monotonic_ns() // SECOND_NS * SECOND_NS

    def load(self, gpu: int, profile: str | None) -> None:
        """Put a load on a GPU, or take it off."""
        self.served.set_load(gpu, None if profile is None else load_profile(profile))

    def advance(self, seconds: float) -> None:
        """Let virtual time pass under the setpoints and faults in force now."""
        steps = round(seconds * WINDOW_STEPS)
        self.served.advance(self.served.read_inputs(), self._end_ns + STEP_NS, steps)
        self._end_ns += steps * STEP_NS

    def close(self) -> None:
        """Release the folder."""
        self.served.close()


@contextmanager
def virtual(node: NodeDir) -> Iterator[VirtualNode]:
    """A VirtualNode for a block, after one second of idling."""
    stepped = VirtualNode(node)
    try:
        stepped.advance(1.0)
        yield stepped
    finally:
        stepped.close()


def client(node: NodeDir, code: str, *, init: bool = True) -> list[Any]:
    """Run ``code`` in a new process as an NVML client of ``node``; returns what it answered."""
    text = _PRELUDE + ("N.nvmlInit()\n" if init else "") + code
    done = subprocess.run(
        [sys.executable, "-c", text],
        env={**os.environ, **node.env()},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@contextmanager
def holding(
    node: NodeDir, devices: str, *, profile: str = "training-hot", code: str = "while True: pass"
) -> Iterator[subprocess.Popen[bytes]]:
    """A real process that holds GPUs of ``node``, in a session of its own, for a block."""
    env = {
        **os.environ,
        **node.env(),
        "CUDA_VISIBLE_DEVICES": devices,
        "WATTLINE_SIM_PROFILE": profile,
    }
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, env=env, start_new_session=True) as process:
        try:
            yield process
        finally:
            process.kill()
