"""Runs simulated nodes: ``python -m wattline_sim.node --dir DIR [--dir DIR …]``.

One process serves any number of node folders, stepping them together at 20 Hz. All setpoints are
read before any node is stepped, so watts that are taken from one node and given to another are
never counted at both. Steps end on multiples of 50 ms of CLOCK_MONOTONIC; a process that was held
up takes the missed steps under the setpoints it finds, as hardware would have obeyed them.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from types import FrameType

from wattline_sim.driver.build import BuildError
from wattline_sim.holders import Hold, HolderTable
from wattline_sim.nodedir import NodeDir, NodeDirError, NodeSpec, node_dir, prepare
from wattline_sim.physics import STEP_NS
from wattline_sim.procfs import ProcScanner, WatchedNode
from wattline_sim.profiles import UnknownNameError
from wattline_sim.served import ServedNode
from wattline_sim.statefile import StateFileError

__all__ = ["NodeDir", "NodeDirError", "NodeSpec", "prepare", "run_node", "serve"]

_SCAN_PERIOD_NS = 500_000_000
_CATCH_UP_STEPS_MAX = 1200  # a minute; a longer pause is skipped, not replayed
_PROBLEMS = (BuildError, NodeDirError, StateFileError, UnknownNameError)


class _Stop:
    """Becomes true on SIGTERM or SIGINT, or when the parent is gone.

    The parent is watched by polling getppid, not with PR_SET_PDEATHSIG: that signal is also sent
    when merely the parent's thread that started us ends.
    """

    def __init__(self, *, with_parent: bool) -> None:
        self._parent = os.getppid() if with_parent else None
        self._signalled = self._parent == 1
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._signalled = True

    def __call__(self) -> bool:
        return self._signalled or (self._parent is not None and os.getppid() != self._parent)


class _Holders:
    """Scans for holders and hands each node its own."""

    def __init__(self, nodes: Sequence[ServedNode]) -> None:
        self._nodes = nodes
        self._table = HolderTable()
        self._scanner = ProcScanner([WatchedNode(n.node.path, n.uuids, n.migs) for n in nodes])
        self._next_ns = 0

    def refresh(self, now_ns: int) -> None:
        if now_ns < self._next_ns:
            return
        self._next_ns = now_ns + _SCAN_PERIOD_NS
        holds = self._table.update(self._scanner.scan(), now_ns / 1e9)
        per_node: list[dict[int, Hold]] = [{} for _ in self._nodes]
        for (number, gpu), hold in holds.items():
            per_node[number][gpu] = hold
        for node, mine in zip(self._nodes, per_node, strict=True):
            node.set_holds(mine, now_ns)


def _loop(nodes: Sequence[ServedNode], should_stop: Callable[[], bool]) -> None:
    holders = _Holders(nodes)
    last_ns = time.monotonic_ns() // STEP_NS * STEP_NS
    while not should_stop():
        now_ns = time.monotonic_ns()
        steps = (now_ns - last_ns) // STEP_NS
        if steps == 0:
            time.sleep((last_ns + STEP_NS - now_ns) / 1e9)
            continue
        holders.refresh(now_ns)
        skipped = max(0, steps - _CATCH_UP_STEPS_MAX)
        first_ns = last_ns + (skipped + 1) * STEP_NS
        inputs = [node.read_inputs() for node in nodes]
        for node, given in zip(nodes, inputs, strict=True):
            node.advance(given, first_ns, steps - skipped)
        last_ns += steps * STEP_NS


def serve(directories: Sequence[Path], *, exit_with_parent: bool = False) -> None:
    """Simulate prepared node folders until SIGTERM, SIGINT or, if asked, the parent's end.

    Raises NodeDirError or StateFileError when a folder is not prepared or already served.
    """
    should_stop = _Stop(with_parent=exit_with_parent)
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(closing(ServedNode(node_dir(directory))))
            for directory in directories
        ]
        _loop(nodes, should_stop)


def run_node(
    *, model: str, gpus: int, seed: int = 1, name: str = "sim0", directory: Path | None = None
) -> int:
    """Prepare and serve one node in the foreground; for the verb ``wattline sim node``.

    Without ``directory`` a temporary one is used and removed at the end. Prints the lines that run
    third-party clients against the node. Returns an exit status: 0, or 2 with one line on stderr.
    """
    made = Path(tempfile.mkdtemp(prefix="wattline-sim-")) if directory is None else None
    target = made or directory
    if target is None:
        raise NodeDirError("no folder for the node")
    try:
        node = prepare(target, model=model, gpus=gpus, seed=seed, name=name)
        print(_instructions(node), flush=True)
        serve([target])
    except _PROBLEMS as problem:
        print(problem, file=sys.stderr)
        return 2
    finally:
        if made is not None:
            shutil.rmtree(made)
    return 0


def _instructions(node: NodeDir) -> str:
    where = f"LD_LIBRARY_PATH={node.path}"
    spec = node.spec()
    busy = "python3 -c 'while True: pass'"
    return "\n".join(
        (
            f"Simulated node {spec.name}: {spec.gpus} × {spec.gpu_model.display_name}.",
            "Read it from another terminal:",
            f"  {where} nvitop",
            f"  {where} gpustat --json",
            "Load GPU 0 with any busy program:",
            f"  {where} CUDA_VISIBLE_DEVICES=0 WATTLINE_SIM_PROFILE=training-hot {busy}",
            "Stop with Ctrl-C.",
        )
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``python -m wattline_sim.node``."""
    parser = argparse.ArgumentParser(
        prog="python -m wattline_sim.node", description="Simulate prepared node folders."
    )
    parser.add_argument("--dir", action="append", required=True, type=Path, metavar="DIR")
    parser.add_argument("--exit-with-parent", action="store_true")
    given = parser.parse_args(arguments)
    try:
        serve(given.dir, exit_with_parent=given.exit_with_parent)
    except _PROBLEMS as problem:
        print(problem, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
