"""A harness with a gateway whose service answers by the law that `work_rate` learns."""

from bisect import bisect_left

from support.core.harness import BEAT_S, TICK_S, Harness
from support.core.rolling import gateway_site
from support.core.sites import JobBuilder, job
from wattline_protocol.ids import JobId
from wattline_protocol.job.spec import CountRange, ServiceSpec, Slo
from wattline_protocol.wire.rollouts import (
    BUCKETS_S,
    ReportTraffic,
    ServiceTraffic,
    WorkerTraffic,
)
from wattline_scheduler.core.model.jobs.job import Running
from wattline_scheduler.core.model.jobs.scaled_service import Scaling
from wattline_scheduler.power.demand.useful_cap import Need, curve_of

CAPACITY = 100.0
"""Requests a second of an uncapped replica."""
ALONE_S, P95_S = 0.05, 1.0
NAME = "echo"


class ScalingHarness(Harness):
    """Each replica is ready as soon as it runs, unless it is in `stuck`."""

    rate = 0.0
    is_reporting = True
    stuck: frozenset[int] = frozenset()
    in_flight = 0
    """Of each replica: requests that have begun to be answered."""
    batch_work = 0
    blind: tuple[str, ...] = ()
    """Gateways that reach no workers."""
    _next_report_s = 0.0

    def tick(self, tick_s: float = TICK_S) -> None:
        super().tick(tick_s)
        if self.is_reporting and self.mono_s >= self._next_report_s:
            self._next_report_s = self.mono_s + 1.0
            self.ask(self._report(), user="gw", role="gateway")
            for name in self.blind:
                self.ask(ReportTraffic((), (), services=()), user=name, role="gateway")

    def ready(self, number: JobId) -> list[int]:
        """Replicas that take requests."""
        gangs = self.job(number).gangs
        return [
            g.number for g in gangs if isinstance(g.phase, Running) and g.number not in self.stuck
        ]

    def cap_mw(self, number: JobId, gang: int) -> int:
        """In force at the agent."""
        [attempt] = self.gang(number, gang).live
        return min(self.agents[attempt.node].caps_mw[at] for at in attempt.record.gpus)

    def _report(self) -> ReportTraffic:
        jobs = [j for j in self.cluster.state.work.jobs.values() if j.spec.name == NAME]
        rows: list[WorkerTraffic] = []
        traffic = ServiceTraffic(NAME, requests=round(self.rate))
        for one in (one for one in jobs if not one.is_ended):
            ready = self.ready(one.id)
            for gang in one.gangs:
                for attempt in gang.live:
                    state = "ready" if gang.number in ready else "loading"
                    rows.append(WorkerTraffic(attempt.record.ref, state, self.in_flight))
            if ready:
                traffic = self._answers(one.id, ready)
        return ReportTraffic((), tuple(rows), services=(traffic,))

    def _answers(self, number: JobId, ready: list[int]) -> ServiceTraffic:
        performance = min(self._performance(number, gang) for gang in ready)
        x = min(self.rate / (len(ready) * performance * CAPACITY), 0.99)
        time_s = ALONE_S / (performance * (1.0 - x))
        times = [0] * (len(BUCKETS_S) + 1)
        count = round(self.rate)
        times[bisect_left(BUCKETS_S, time_s)] = count
        return ServiceTraffic(
            NAME, count, count, work=count, batch_work=self.batch_work, times=tuple(times)
        )

    def _performance(self, number: JobId, gang: int) -> float:
        [attempt] = self.gang(number, gang).live
        gpu = self.node(attempt.node).gpus[attempt.record.gpus[0]]
        demand_mw = gpu.cap_max_mw
        curve = curve_of(gpu, demand_mw, Need(is_service=True))
        return curve.performance(self.cap_mw(number, gang), demand_mw)

    def scaling(self, number: JobId) -> Scaling:
        return self.cluster.state.scaling[number]


def scaled(least: int = 1, most: int = 4, *, p95_s: float = P95_S, **service: object) -> JobBuilder:
    """One GPU a replica."""
    count = CountRange(least, most) if most > least else least
    spec = ServiceSpec(count, slo=Slo(p95_s), **service)  # type: ignore[arg-type]
    return job(NAME).gpus(1).service(1)._with(service=spec)


def running(
    builder: JobBuilder, load: float, *, kw: float = 1_000.0, nodes: int = 1
) -> tuple[ScalingHarness, JobId]:
    """The service under that load for a minute, so that its constants are learned."""
    h = ScalingHarness(gateway_site("gw", nodes=nodes).site_budget(kw).build())
    h.join()
    h.run(4)
    h.rate = load
    number = h.submit(builder)
    h.run(60, BEAT_S)
    return h, number
