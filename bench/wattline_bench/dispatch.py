"""From submission to process start and end: a real scheduler and four nodes of eight GPUs.

Everything is real but the GPUs: scheduler, keepers and agents are processes of their own on
loopback, CURVE included; all submissions, starts and ends are on disk. Three loads, one after the
other on the same site:

* **idle**: one job at a time, with pauses, each when the one before has ended; it writes the time
  at which it runs, so the latency is from before the submission leaves the client to the program's
  own first act. Before a few of them (*cold*) all GPUs have gone idle and all leases have shrunk;
* **singly**: N jobs `/bin/true` of one GPU, a submission each, 64 of them under way (one client may
  submit 5,000 at once and then 1,000 a second, what is above that is answered later);
* **array**: the same as one array of N tasks.

Ends are counted in the scheduler's store, which costs it nothing. Control processor time is that of
scheduler, keepers (with wardens) and agents, without the tasks' own. Budgets (DESIGN 10).
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory

import msgspec
import psutil

from wattline_agent.keeper.vfork import load_launcher
from wattline_bench.rig import peers
from wattline_bench.rig.forks import fork_exec_per_s
from wattline_bench.rig.hosts import GPUS, HostSite, host_site
from wattline_bench.rig.plain import PlainClient
from wattline_bench.rig.profile import profiled, top
from wattline_bench.rig.quantiles import Quantiles, quantiles
from wattline_bench.rig.record import Record
from wattline_bench.verdict import Figures, judged, over, under
from wattline_protocol.job.spec import ArraySpec, JobSpec, Resources

JOBS_PER_S_MIN = 300.0
ARRAY_SUBMISSIONS_PER_S_MIN = 2_000.0
LATENCY_P50_MS_MAX = 20.0
LATENCY_P99_MS_MAX = 60.0

NODES = 4
UNDER_WAY = 64
PAUSE_S = (0.05, 0.3)
COLD_S = 6.0
"""A GPU is idle after 3 s; its watts are given back within two beats more."""
COLD_SHARE = 16
"""One sample in so many is taken after such a pause."""
LOOK_S = 0.002
ARRAY_MAX = 10_000


class Dispatch(Figures, frozen=True, omit_defaults=True):
    """Of one run."""

    jobs: int
    submissions_per_s: float
    """One job each, while earlier ones already run."""
    array_submissions_per_s: float
    """Tasks of arrays."""
    jobs_per_s: float
    """Submitted singly: from the first submission to the last end on disk."""
    array_jobs_per_s: float
    idle_latency_ms: Quantiles
    idle_stages_ms: dict[str, float]
    """Medians: until placed, from there to the fork, from there until the program runs."""
    cold_latency_ms: Quantiles
    control_cpu_s_per_1000: float
    cpu_ms_per_job: dict[str, float]
    """Control processor time by program, in the two loads; the simulated hardware's too."""
    rss_mib: float
    """Of all control processes together, at the end."""
    starts_by: str
    """How keepers start tasks here: vfork, or fork where `launch.c` was not built."""
    fork_exec_per_s: float
    hyperqueue: peers.Peer | None = None
    profile: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)

    def misses(self) -> tuple[str, ...]:
        """Of rates and latency."""
        slowest = min(self.jobs_per_s, self.array_jobs_per_s)
        latency = self.idle_latency_ms
        return (
            *under("jobs/s end to end", slowest, JOBS_PER_S_MIN),
            *under(
                "array submissions/s", self.array_submissions_per_s, ARRAY_SUBMISSIONS_PER_S_MIN
            ),
            *over("idle latency p50 ms", latency.p50, LATENCY_P50_MS_MAX),
            *over("idle latency p99 ms", latency.p99, LATENCY_P99_MS_MAX),
        )


@judged
def measure(*, jobs: int, samples: int, beside: str | None, profile: bool) -> Figures:
    """All loads, and the peer after them where one is asked for."""
    if beside is not None:
        peers.find(beside)
    with TemporaryDirectory(prefix="wattline-bench-") as folder:
        profiles = Path(folder) if profile else None
        with _bench(profiles) as bench:
            found = bench.run(jobs, samples)
        if profiles is not None:
            found = msgspec.structs.replace(found, profile=_tops(profiles))
    if beside is not None:
        peer = peers.run(workers=NODES, cores=GPUS, jobs=jobs)
        found = msgspec.structs.replace(found, hyperqueue=peer)
    return found


def _tops(folder: Path) -> dict[str, tuple[str, ...]]:
    kinds = ("scheduler", "agent", "keeper")
    return {kind: top(sorted(folder.glob(f"{kind}*"))) for kind in kinds}


@contextmanager
def _bench(profiles: Path | None) -> Iterator["Bench"]:
    within = (lambda _: []) if profiles is None else (lambda name: profiled(profiles, name))
    with host_site(within, NODES) as site:
        site.start_nodes()
        client = PlainClient(site.live.operator)
        with Record(site.live.state_dir) as record:
            yield Bench(site, client, record)
        client.close()


class Bench:
    """A site under load."""

    def __init__(self, site: HostSite, client: PlainClient, record: Record) -> None:
        self._site, self._client, self._record = site, client, record
        self._programs = _programs(site)

    def run(self, jobs: int, samples: int) -> Dispatch:
        """All loads. Raises RuntimeError when a job does not complete."""
        forks = fork_exec_per_s()
        warm = [self._sample(Random(number).uniform(*PAUSE_S)) for number in range(samples)]
        cold = [self._sample(COLD_S) for _ in range(1 + samples // COLD_SHARE)]
        before = self._cpu_s()
        submit_s, singly_s = self._singly(jobs)
        array_submit_s, array_s = self._array(jobs)
        cpu_ms = {k: 500 * (s - before[k]) / jobs for k, s in self._cpu_s().items()}
        if self._record.failed():
            raise RuntimeError(f"{self._record.failed()} tasks did not complete")
        return Dispatch(
            jobs=jobs,
            submissions_per_s=jobs / submit_s,
            array_submissions_per_s=jobs / array_submit_s,
            jobs_per_s=jobs / singly_s,
            array_jobs_per_s=jobs / array_s,
            idle_latency_ms=_in_ms([sum(stages) for stages in warm]),
            idle_stages_ms={
                name: 1e3 * median(stages[at] for stages in warm)
                for at, name in enumerate(("placed", "forked", "running"))
            },
            cold_latency_ms=_in_ms([sum(stages) for stages in cold]),
            control_cpu_s_per_1000=sum(ms for k, ms in cpu_ms.items() if k != "hardware"),
            cpu_ms_per_job=cpu_ms,
            rss_mib=self._rss_mib(),
            starts_by="fork" if load_launcher() is None else "vfork",
            fork_exec_per_s=forks,
        )

    def _sample(self, pause_s: float) -> tuple[float, ...]:
        """Seconds of each stage of one job's start, on a site where nothing runs or waits."""
        time.sleep(pause_s)
        submitted = time.time()
        self._client.submit(1, _spec("date", "+%s.%N"), f"{submitted}")
        job = self._client.accepted()
        self._record.wait_ended(job - 1, 1, LOOK_S)
        times = self._record.times(job)
        node, name = self._record.where(job)
        log = self._site.state_of(node) / "tasks" / f"{name}.log"
        stages = (submitted, *times, float(log.read_text(encoding="ascii")))
        return tuple(later - earlier for earlier, later in pairwise(stages))

    def _singly(self, jobs: int) -> tuple[float, float]:
        """Seconds until all are accepted, and until all have ended."""
        newest, began_s = self._record.newest(), time.perf_counter()
        accepted_s = self._client.submit_all(_spec("/bin/true"), jobs, UNDER_WAY)
        self._record.wait_ended(newest, jobs)
        return accepted_s, time.perf_counter() - began_s

    def _array(self, jobs: int) -> tuple[float, float]:
        """The same as arrays of `ARRAY_MAX` tasks at most."""
        newest, began_s, accepted_s = self._record.newest(), time.perf_counter(), 0.0
        for first in range(0, jobs, ARRAY_MAX):
            tasks = min(ARRAY_MAX, jobs - first)
            accepted_s += self._client.submit_all(_spec("/bin/true", tasks=tasks), 1, 1)
        self._record.wait_ended(newest, jobs)
        return accepted_s, time.perf_counter() - began_s

    def _cpu_s(self) -> dict[str, float]:
        """Processor seconds of each kind of program so far."""
        times = {kind: [p.cpu_times() for p in of] for kind, of in self._programs.items()}
        return {kind: sum(t.user + t.system for t in each) for kind, each in times.items()}

    def _rss_mib(self) -> float:
        control = [p for kind, of in self._programs.items() if kind != "hardware" for p in of]
        return sum(float(p.memory_info().rss) for p in control) / 2**20


def _programs(site: HostSite) -> dict[str, list[psutil.Process]]:
    """By kind; a keeper's only child before it has tasks is its warden."""
    keepers = [psutil.Process(pid) for pid in site.keepers]
    return {
        "scheduler": [site.live.program],
        "agents": [psutil.Process(pid) for pid in site.agents],
        "keepers": keepers,
        "wardens": [child for keeper in keepers for child in keeper.children()],
        "hardware": [psutil.Process(site.hardware)],
    }


def _spec(*command: str, tasks: int = 1) -> JobSpec:
    return JobSpec(
        name="work",
        command=command,
        resources=Resources(gpus_per_node=1),
        array=ArraySpec(tuple(range(tasks)), 0) if tasks > 1 else None,
    )


def _in_ms(seconds: Sequence[float]) -> Quantiles:
    return quantiles([1e3 * each_s for each_s in seconds])
