"""A service whose replicas follow the load that gateways report, and a user that moves its bounds.

Some of the sites without other gateways have one. Its dice are its own, so that a site without it
runs exactly as it would if there were none.
"""

import random
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence

from wattline_protocol.ids import JobId, UserName
from wattline_protocol.job.selection import only
from wattline_protocol.job.spec import (
    CountRange,
    JobSpec,
    Recovery,
    Resources,
    ServiceSpec,
    Slo,
)
from wattline_protocol.wire.client_messages import Update
from wattline_protocol.wire.rollouts import (
    BUCKETS_S,
    ReportTraffic,
    ServiceTraffic,
    WorkerTraffic,
)
from wattline_scheduler.core.cluster import Cluster
from wattline_scheduler.core.model.jobs.job import Gang, Job
from wattline_scheduler.records import GangRecord, JobRecord, Record
from wattline_sim.fleet.disk import Key
from wattline_sim.fleet.hardware import SIM_DEMAND_MW, SIM_EXIT, SIM_SECONDS
from wattline_sim.fleet.users.reporting import ReportingGateways, Submit, Tell
from wattline_sim.fleet.world import World

SITES_SHARE = 0.4
"""Of those without other gateways."""
RATES = (0.0, 20.0, 120.0, 400.0)
"""Requests a second, of which a replica answers `CAPACITY`."""
CAPACITY = 100.0
ALONE_S, P95_S = 0.05, 0.5
RATE_MEAN_S, BOUNDS_MEAN_S, SUBMIT_MEAN_S = 12.0, 25.0, 15.0
LOADING_S = 4.0
"""A replica is ready so long after it began to run; one in ten never is."""
STUCK_SHARE = 0.1
BOUNDS = ("1-3", "1-2", "2-3", 2)

NAME = "scaled"
USER = UserName("eve")


class ScaledBeyond(AssertionError):
    """A service has another number of replicas on record than its range allows."""


class ReplicaFrozen(AssertionError):
    """A replica of a service with an SLO was frozen with its requests, instead of drained."""


class Scaled(ReportingGateways):
    """Gateways of one site and the load of its service."""

    lost_share, silence_s = 0.05, 20.0

    def __init__(self, world: World, dice: random.Random, *, may: bool) -> None:
        super().__init__(world, dice, "gs", SITES_SHARE if may else 0.0)
        self._rate = 0.0
        self._queued = 0.0
        self._seen_s: dict[tuple[JobId, int, int], float] = {}
        """Since when each try of a replica has run."""

    def begin(
        self,
        cluster: Callable[[], Cluster | None],
        tell: Tell,
        submit: Submit,
        is_over: Callable[[], bool],
    ) -> None:
        """Report for ever; until it is over the load changes, gateways fall silent, and the user
        submits the service and moves its bounds."""
        if not self._names:
            return

        def report(name: str) -> None:
            now = cluster()
            if now is not None and (is_over() or self._is_heard(name)):
                tell(self._report(now), UserName(name))

        def change_rate() -> None:
            self._rate = self._dice.choice(RATES)
            self._after(RATE_MEAN_S, change_rate)

        def bound() -> None:
            for job in () if is_over() else _jobs(cluster()):
                tell(Update(only(job.id), {"replicas": self._dice.choice(BOUNDS)}), USER)
            self._after(BOUNDS_MEAN_S, bound)

        def serve() -> None:
            if not is_over():
                if not _jobs(cluster()):
                    submit(self._spec(), None, USER)
                self._after(SUBMIT_MEAN_S, serve)

        self._begin_reports(report)
        change_rate()
        serve()
        self._after(BOUNDS_MEAN_S, bound)

    def _spec(self) -> JobSpec:
        idle_s = self._dice.choice((0.0, 60.0))
        service = ServiceSpec(
            CountRange(1, 3), fallback=("static:null",), slo=Slo(P95_S), idle_to_zero_s=idle_s
        )
        return JobSpec(
            NAME,
            ("work",),
            "service",
            priority=self._dice.choice((25, 75)),
            service=service,
            resources=Resources(gpu_share_permille=self._dice.choice((300, 1000))),
            recovery=Recovery(grace_s=2.0),
            env={SIM_SECONDS: "60", SIM_EXIT: "0", SIM_DEMAND_MW: "400000"},
        )

    # --- what is reported -----------------------------------------------------------------------

    def _report(self, cluster: Cluster) -> ReportTraffic:
        """Of this gateway's share of the load."""
        rate, rows, ready = self._rate / len(self._names), [], 0
        for job in _jobs(cluster):
            for gang in job.gangs:
                is_ready = self._is_ready(gang)
                ready += is_ready
                state = "ready" if is_ready else "loading"
                rows += [WorkerTraffic(one.record.ref, state) for one in gang.live]
        able = ready * CAPACITY / len(self._names)
        answered = int(min(rate + self._queued, able))
        self._queued = min(max(0.0, self._queued + rate - able), 10 * rate)
        time_s = ALONE_S / (1.0 - min(rate / able, 0.98)) if able else P95_S
        times = [0] * (len(BUCKETS_S) + 1)
        times[bisect_left(BUCKETS_S, time_s)] = answered
        load = ServiceTraffic(
            NAME, int(rate), answered, work=answered, queued=int(self._queued), times=tuple(times)
        )
        return ReportTraffic((), tuple(rows), services=(load,))

    def _is_ready(self, gang: Gang) -> bool:
        key = gang.job.id, gang.number, int(gang.attempt)
        if gang.phase_name != "running":
            return False
        ran_s = self._world.now_s - self._seen_s.setdefault(key, self._world.now_s)
        is_stuck = random.Random(f"replica {key}").random() < STUCK_SHARE
        return ran_s >= LOADING_S and not is_stuck


def _jobs(cluster: Cluster | None) -> Sequence[Job]:
    """Open jobs of the service."""
    return () if cluster is None else cluster.state.work.services.open().get(NAME, [])


def check_scaled(before: Mapping[Key, Record], written: Sequence[Record]) -> None:
    """Raise if a transaction leaves the range of a service, or freezes one of its replicas."""
    frozen = [r for r in written if isinstance(r, GangRecord) and r.phase == "paused"]
    for record in written:
        if isinstance(record, JobRecord) and record.replicas is not None:
            _check_range(record)
    for gang in frozen:
        job = next((r for r in (*written, *before.values()) if _is_of(r, gang)), None)
        service = job.spec.service if isinstance(job, JobRecord) else None
        if service is not None and service.slo is not None:
            raise ReplicaFrozen(f"replica {gang.gang} of job {gang.job} is frozen: {gang.reason}")


def _is_of(record: Record, gang: GangRecord) -> bool:
    return isinstance(record, JobRecord) and record.id == gang.job


def _check_range(record: JobRecord) -> None:
    service, count = record.spec.service or ServiceSpec(), record.replicas
    is_asleep = count == 0 and service.idle_to_zero_s > 0
    if count is None or is_asleep or service.least <= count <= service.most:
        return
    raise ScaledBeyond(f"job {record.id} has {count} of {service.least} to {service.most}")
