"""A harness with gateways that report each second, and a service that has several revisions."""

from dataclasses import dataclass

from support.core.harness import TICK_S, Harness
from support.core.sites import JobBuilder, SiteBuilder, job, site
from wattline_protocol.ids import JobId, UserName
from wattline_protocol.site.model import Site
from wattline_protocol.wire.client_messages import Answer, Denied, Submit, Submitted
from wattline_protocol.wire.rollouts import (
    BUCKETS_S,
    GetRollout,
    ReportTraffic,
    RevisionTraffic,
    RolloutNow,
    RolloutOptions,
    RolloutView,
    SteerRollout,
)
from wattline_scheduler.core.model.events import ClientRequest
from wattline_scheduler.core.rollout.rollouts import splits
from wattline_scheduler.records import RolloutRecord
from wattline_scheduler.views.rollout_view import rollout_view

RATE = 40
SHARED_MS = 10.0


@dataclass
class Behaviour:
    """How the workers of a revision are."""

    is_ready: bool = True
    errors: float = 0.0
    """Share of its requests."""
    ms: float = SHARED_MS
    compares: bool | None = None
    uncompared: int = 0
    """Copies of each report."""


class RollingHarness(Harness):
    """Requests come at a steady rate through all gateways that report."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.reporting = {gateway.name for gateway in site.gateways}
        self.is_: dict[JobId, Behaviour] = {}
        self.rate = RATE
        self._since_report_s = 0.0
        self._left: dict[JobId, float] = {}
        self._errors: dict[JobId, float] = {}

    def tick(self, tick_s: float = TICK_S) -> None:
        super().tick(tick_s)
        self._since_report_s += tick_s
        if self._since_report_s >= 1.0:
            self._since_report_s = 0.0
            for gateway in sorted(self.reporting):
                self.report(gateway)

    def report(self, gateway: str) -> Answer | None:
        """One gateway's report of the last second."""
        jobs = self.cluster.state.work.jobs
        services = [number for number in sorted(jobs) if jobs[number].spec.kind == "service"]
        revisions = tuple(map(self._of, services))
        self._asks += 1
        event = ClientRequest(
            b"g", self._asks, UserName(gateway), "gateway", ReportTraffic(revisions)
        )
        self.handle(event)
        return self.replies.get(self._asks)

    def ready(self, number: JobId) -> int:
        """Its workers that take requests."""
        job = self.job(number)
        is_ready = self.is_.get(number, Behaviour()).is_ready
        running = [gang for gang in job.gangs if gang.phase_name == "running"]
        connected = [g for g in running if not any(one.node in self.cut_off for one in g.live)]
        return len(connected) if is_ready else 0

    def _of(self, number: JobId) -> RevisionTraffic:
        name, ready, how = self.job(number).spec.name, self.ready(number), self._how(number)
        self._left[number] = self._left.get(number, 0.0) + self._share(number) * self.rate
        requests = int(self._left[number])
        self._left[number] -= requests
        self._errors[number] = self._errors.get(number, 0.0) + requests * how.errors
        errors = int(self._errors[number])
        self._errors[number] -= errors
        times = [0] * (len(BUCKETS_S) + 1)
        times[next(at for at, bound in enumerate(BUCKETS_S) if how.ms <= bound * 1000)] = (
            requests - errors
        )
        return RevisionTraffic(
            name,
            number,
            ready,
            requests,
            errors,
            tuple(times),
            uncompared=how.uncompared,
            compares=how.compares if ready else None,
        )

    def _how(self, number: JobId) -> Behaviour:
        return self.is_.get(number, Behaviour())

    def _share(self, number: JobId) -> float:
        """Of all requests, at one of the gateways."""
        name = self.job(number).spec.name
        split = splits(self.cluster.state).get(name)
        alike = [j.id for j in self.cluster.state.work.jobs.values() if j.spec.name == name]
        ready = {one: self.ready(one) for one in alike}
        if not ready.get(number) or not self.reporting:
            return 0.0
        share = ready[number] / sum(ready.values())
        if split is not None and len([n for n in ready.values() if n]) > 1:
            permille = max(split.share_permille, split.shadow_permille)
            is_new = number == split.revision
            share = permille / 1000 if is_new else 1 - split.share_permille / 1000
        return share / len(self.reporting)

    # --- requests ---------------------------------------------------------------------------

    def roll(
        self, wanted: JobBuilder | None = None, *, user: str = "ada", **options: object
    ) -> JobId | Denied:
        """Submit the next revision."""
        self._asks += 1
        request = Submit(
            (wanted or echo()).build(),
            f"roll-{self._asks}",
            RolloutOptions(**options),  # type: ignore[arg-type]  # tests choose the fields
        )
        answer = self.ask(request, user=user, role="submitter")
        self.settle()
        assert isinstance(answer, Submitted | Denied)
        return answer.job if isinstance(answer, Submitted) else answer

    def steer(self, action: str, *, user: str = "ada") -> Answer:
        request = SteerRollout("echo", action)  # type: ignore[arg-type]  # tests choose
        answer = self.ask(request, user=user, role="submitter")
        self.settle()
        return answer

    def record(self) -> RolloutRecord:
        return self.cluster.state.rollouts["echo"].record

    def status(self) -> RolloutView:
        answer = rollout_view(self.cluster.state, GetRollout("echo").name, self.now)
        assert isinstance(answer, RolloutNow)
        return answer.rollout

    def running(self, number: JobId) -> int:
        return sum(gang.phase_name == "running" for gang in self.job(number).gangs)


def rolling(*gateways: str, nodes: int = 2) -> RollingHarness:
    """Nodes of eight GPUs that have joined, behind these gateways or one."""
    made = RollingHarness(gateway_site(*(gateways or ("gw",)), nodes=nodes).build())
    made.join()
    made.run(2)
    return made


def gateway_site(*names: str, nodes: int = 2) -> SiteBuilder:
    """A site with gateways."""
    built = site().rack("a", nodes)
    for name in names:
        built = built.gateway("tcp://127.0.0.1:7080", name)
    return built


def echo(replicas: int = 2, gpus: int = 1) -> JobBuilder:
    """A revision of the service."""
    return job("echo").gpus(gpus).service(replicas).grace(1.0)
