"""The site of the benchmark: a gang over two of three simulated hosts, and what interrupts it."""

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from msgspec.structs import replace

import wattline_examples
from wattline.failures import ActFailed
from wattline_bench.resume.timeline import Attempt, Interruption, Line
from wattline_bench.rig.hosts import HostSite, command_of, descendants
from wattline_bench.rig.site import LOOK_S, rack_site
from wattline_protocol.job.spec import PRIORITIES, JobSpec, Launch, Recovery, Resources
from wattline_protocol.site.model import Site, Timing
from wattline_protocol.site.out_of_band import OffByCommand, OutOfBand
from wattline_protocol.views.site_views import JobView

NODES = 2
HOSTS = NODES + 1
"""One to spare, for the loss of another."""
FENCE_AFTER_S = 30.0
INTERVAL_STEPS = 5
NON_GPU_WORST_MW = 1_300_000
SHED_SHARE = 0.9
"""Leaves less than the idle hosts draw: everything that runs is paused."""
RAMP_S = 20.0
"""Long enough for a notice and a save before the pause."""
PATIENCE_S = 300.0
RUN_PATIENCE_S = 3_600.0
"""For a whole run, on a busy machine."""
ON, OFF = "on", "off"
"""What a BMC answers."""
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT")


@dataclass(frozen=True, slots=True)
class Work:
    """A program that trains in steps, and saves every `INTERVAL_STEPS`."""

    name: str
    command: tuple[str, ...]
    steps_per_kill: int
    """Steps of a job, for each interruption of it."""

    def of(self, kills: int) -> tuple[str, ...]:
        """Its command, with steps enough for so many interruptions."""
        return (sys.executable, *(part.format(steps=self.steps(kills)) for part in self.command))

    def steps(self, kills: int) -> int:
        """So many it does."""
        return INTERVAL_STEPS * 4 + self.steps_per_kill * kills


def works() -> tuple[Work, ...]:
    """Digits, and characters of a text. Raises ActFailed outside of a checkout."""
    script = Path(wattline_examples.__file__).parents[1] / "training" / "char_transformer.py"
    if not script.exists():
        raise ActFailed(f"{script} is missing: this benchmark runs in a checkout of Wattline")
    every = ("--save-every", str(INTERVAL_STEPS))
    small = ("--width", "16", "--blocks", "2")
    digits = ("-m", "wattline_examples.train_digits", "--epochs", "{steps}", *small, *every)
    wide = ("--width", "128", "--layers", "3")
    text = (str(script), "--steps", "{steps}", *wide, *every)
    return Work("digits", digits, 20), Work("text", text, 100)


def resume_site(folder: Path) -> Site:
    """Hosts that can be fenced, one directory of checkpoints, and nothing that protects what
    runs."""
    site = rack_site(HOSTS)
    nodes = tuple(
        replace(node, non_gpu_worst_mw=NON_GPU_WORST_MW, out_of_band=_power_of(folder, node.id))
        for node in site.nodes
    )
    root, timing = str(folder / "checkpoints"), Timing(protected_run_s=0.0)
    timing = replace(timing, fence_after_s=FENCE_AFTER_S)
    return replace(site, nodes=nodes, checkpoint_root=root, timing=timing)


def _power_of(folder: Path, node: str) -> OutOfBand:
    """Its BMC: a file with its power state."""
    state = str(folder / "power" / node)
    return OutOfBand(OffByCommand(("cat", state), ("cp", str(folder / "power" / OFF), state)))


class Ground(HostSite):
    """The site as it runs, with one job at a time."""

    def __init__(self, folder: Path, random: Random) -> None:
        for name in ("checkpoints", "power"):
            (folder / name).mkdir()
        site = resume_site(folder)
        (folder / "power" / OFF).write_text(OFF)
        for node in site.nodes:
            (folder / "power" / node.id).write_text(ON)
        super().__init__(folder, site=site, tasks_see_gpus=True)
        self._random = random
        self._lost: list[str] = []

    def submit(self, work: Work, kills: int) -> int:
        """Its job: a rank on each host."""
        spec = JobSpec(
            work.name,
            work.of(kills),
            kind="training",
            priority=PRIORITIES["low"],
            resources=Resources(nodes=NODES, gpus_per_node=1),
            launch=Launch(how="torchrun", procs_per_node=1),
            recovery=Recovery(retries=1_000, grace_s=60.0),
            env={"OMP_NUM_THREADS": "1"},  # both ranks share the processors of one machine
        )
        return self.client.submit(spec)

    def wait(
        self,
        holds: Callable[[], bool],
        what: str,
        job: int | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """Wait until `holds`. Raises RuntimeError when time is up, or the job has failed."""
        until_s = time.monotonic() + patience_s
        while not holds():
            self.processes.check()
            if job is not None:
                self._keep_going(job)
            if time.monotonic() > until_s:
                raise RuntimeError(f"not within {patience_s:g} s: {what}")
            time.sleep(LOOK_S)

    def _keep_going(self, job: int) -> None:
        """Release it from the hold of a crash loop, as its user would."""
        seen = self.client.job(job)
        if seen.state == "HELD":
            self.client.release(job)
        if seen.state in ENDED:
            raise RuntimeError(f"{seen.name} is {seen.state}: {seen.reason}")

    # --- what the job did

    def attempts(self, job: int) -> list[Attempt]:
        """All of it, by the metrics that its ranks have written and the scheduler's records."""
        seen = self.client.job(job)
        numbers = sorted({one.attempt for one in seen.attempts})
        return [self._attempt(seen, number) for number in numbers]

    def _attempt(self, seen: JobView, number: int) -> Attempt:
        first: tuple[Line, ...] = ()
        met_s, last_unix_s = list[float](), 0.0
        for path in self.folder.glob(f"agents/*/tasks/{seen.id}.*.{number}.metrics.jsonl"):
            rank = int(path.name.split(".")[1])
            rows = list(_rows(path))
            values = [row["metrics"].get("rendezvous_s") for row in rows]
            met_s += [value for value in values if value is not None]
            last_unix_s = max([last_unix_s, *(row["unix_s"] for row in rows)])
            if rank == 0:
                first = tuple(
                    Line(row["unix_s"], int(step))
                    for row in rows
                    if _is_step(row)
                    and (step := row["metrics"].get("step", row["metrics"].get("epoch")))
                )
        own = [one for one in seen.attempts if one.attempt == number]
        return Attempt(
            number,
            first,
            began_unix_s=max(one.started_unix_s or 0.0 for one in own),
            rendezvous_s=min(met_s, default=0.0),
            ended_unix_s=last_unix_s,
            closed_unix_s=max(one.ended_unix_s or 0.0 for one in own),
            nodes=tuple(one.node for one in own),
        )

    def newest(self, job: int) -> tuple[int, int]:
        """(attempt, step) of the newest line of its first rank; zeros before there is one."""
        found = (0, 0)
        for path in self.folder.glob(f"agents/*/tasks/{job}.0.*.metrics.jsonl"):
            newest = next((row["metrics"] for row in _rows(path, -1) if _is_step(row)), None)
            if newest is not None:
                step = int(newest.get("step", newest.get("epoch", 0)))
                found = max(found, (int(path.name.split(".")[2]), step))
        return found

    # --- what interrupts it

    def interrupt(self, kind: str, job: int) -> Interruption:
        """Interrupt the job and reverse it as an operator would; returns before it resumes."""
        makers = {
            "sigterm": self._sigterm,
            "preempt": self._preempt,
            "shed": self._shed,
            "sigkill_rank": self._sigkill_rank,
            "node": self._node,
        }
        return makers[kind](job)

    def _sigterm(self, job: int) -> Interruption:
        at_unix_s = time.time()
        self.client.requeue(job)
        return Interruption("sigterm", at_unix_s)

    def _preempt(self, job: int) -> Interruption:
        at_unix_s = time.time()
        urgent = self.client.submit(
            JobSpec(
                "urgent",
                ("true",),
                priority=PRIORITIES["high"],
                resources=Resources(nodes=NODES, gpus_per_node=8),
            )
        )
        self.wait(lambda: self.client.job(urgent).state == "COMPLETED", "the urgent job", job)
        return Interruption("preempt", at_unix_s)

    def _shed(self, job: int) -> Interruption:
        self.client.shed(fraction=SHED_SHARE, ramp_s=RAMP_S)
        self.wait(lambda: self._is_frozen(job), "the job is frozen", job)
        at_unix_s = time.time()
        self.client.restore()
        return Interruption("shed", at_unix_s)

    def _is_frozen(self, job: int) -> bool:
        """By the reports of its agents, which come after the decision to pause it."""
        live = [one for one in self.client.job(job).attempts if one.ended_unix_s is None]
        return bool(live) and all(one.state == "PAUSED" for one in live)

    def _sigkill_rank(self, job: int) -> Interruption:
        del job
        ranks = [
            process
            for keeper in self.keepers
            for process in descendants(keeper)
            if _is_rank(command_of(process))
        ]
        if not ranks:
            raise RuntimeError("no rank runs")
        at_unix_s = time.time()
        self._random.choice(ranks).send_signal(signal.SIGKILL)
        return Interruption("sigkill_rank", at_unix_s)

    def _node(self, job: int) -> Interruption:
        """It stays away: the scheduler fences it, and the gang moves to the spare host."""
        node, at_unix_s = self._random.choice(self._nodes_of(job)), time.time()
        self.kill_host(node)
        self._lost.append(node)
        return Interruption("node", at_unix_s, node)

    def _nodes_of(self, job: int) -> list[str]:
        live = [one for one in self.client.job(job).attempts if one.ended_unix_s is None]
        return sorted({one.node for one in live})

    def repair(self) -> None:
        """Switch hosts that were lost on again; returns once all are heard."""
        for node in self._lost:
            (self.folder / "power" / node).write_text(ON)
            self.start_host(node)
        if self._lost:
            names = set(self.names)
            self.until(lambda: self.are_ok(names), f"{', '.join(self._lost)} is back")
        self._lost.clear()


def _is_rank(command: list[str]) -> bool:
    """Not torchrun, nor the supervisor of the rank."""
    is_program = any(word.endswith(("train_digits", "char_transformer.py")) for word in command)
    others = ("torch.distributed.run", "rank.py")
    return is_program and not any(word.endswith(others) for word in command)


def _rows(path: Path, direction: int = 1) -> Iterator[dict[str, Any]]:
    """Whole lines of metrics, the newest first if `direction` is -1; the last one may be half
    written."""
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return (row for row in map(json.loads, lines[::direction]) if "metrics" in row)


def _is_step(row: dict[str, Any]) -> bool:
    return "progress" in row["metrics"]
