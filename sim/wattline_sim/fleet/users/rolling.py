"""Gateways that report ready workers and traffic, and users who steer rollouts.

Half of the sites whose services share names have them. Their dice are their own, so that a site
without them runs exactly as it would if there were none.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from wattline_protocol.ids import JobId, UserName
from wattline_protocol.job.spec import JobSpec, Recovery, Resources, ServiceSpec
from wattline_protocol.wire.rollouts import (
    BUCKETS_S,
    ReportTraffic,
    RevisionTraffic,
    RolloutOptions,
    SteerRollout,
)
from wattline_scheduler.core.cluster import Cluster
from wattline_scheduler.records import GangRecord, Record, RolloutRecord
from wattline_sim.fleet.disk import Key, key_of
from wattline_sim.fleet.hardware import SIM_DEMAND_MW, SIM_EXIT, SIM_SECONDS
from wattline_sim.fleet.users.naming import NAMES, USERS
from wattline_sim.fleet.users.reporting import ReportingGateways, Submit, Tell
from wattline_sim.fleet.world import World

SITES_SHARE = 0.5
ROLL_MEAN_S, STEER_MEAN_S = 5.0, 20.0
BAD_SHARE = 0.25
"""Of revisions: half of their answers are errors."""
MAX_REQUESTS = 60
"""In one report."""

FIRST = JobSpec(
    NAMES[0],
    ("work",),
    "service",
    service=ServiceSpec(2),
    resources=Resources(gpu_share_permille=200),
    recovery=Recovery(grace_s=2.0),
    env={SIM_SECONDS: "20", SIM_EXIT: "0", SIM_DEMAND_MW: "200000"},
)
"""Starts now and then where no service runs."""


class ReplacedEarly(AssertionError):
    """A rollout took a replica away before those of the new revision ran."""


class Rolling(ReportingGateways):
    """Gateways of one site whose services are rolled out."""

    lost_share, silence_s = 0.1, 15.0

    def __init__(self, world: World, dice: random.Random, *, may: bool) -> None:
        super().__init__(world, dice, "gw", SITES_SHARE if may else 0.0)

    def begin(
        self,
        cluster: Callable[[], Cluster | None],
        tell: Tell,
        submit: Submit,
        is_over: Callable[[], bool],
    ) -> None:
        """Report for ever; until it is over gateways fall silent, and users roll out and steer."""
        if not self._names:
            return

        def report(name: str) -> None:
            now = cluster()
            is_heard = is_over() or self._is_heard(name)
            if now is not None and is_heard:
                tell(ReportTraffic(tuple(self._revisions(now))), UserName(name))

        def steer() -> None:
            if is_over():
                return
            action: Literal["promote", "back"] = "back" if self._dice.random() < 0.3 else "promote"
            tell(SteerRollout(self._dice.choice(NAMES), action), UserName("ops"))
            self._after(STEER_MEAN_S, steer)

        def roll() -> None:
            if is_over():
                return
            self._submit_next(cluster(), submit)
            self._after(ROLL_MEAN_S, roll)

        self._begin_reports(report)
        self._after(STEER_MEAN_S, steer)
        self._after(ROLL_MEAN_S, roll)

    def _submit_next(self, cluster: Cluster | None, submit: Submit) -> None:
        """The next revision of a service, with any number of replicas; or the first of one."""
        services = {} if cluster is None else cluster.state.work.services.routed()
        names = sorted(name for name, jobs in services.items() if jobs)
        if not names:
            submit(FIRST, None, USERS[0])
            return
        record = services[self._dice.choice(names)][0].record
        replicas = ServiceSpec(self._dice.randint(1, 3))
        spec = msgspec.structs.replace(record.spec, service=replicas, after_ok=(), after_any=())
        canary = self._dice.choice((0, 0, 200, 900))
        options = RolloutOptions(canary, is_in_place=self._dice.random() < 0.5)
        submit(spec, options, record.owner)

    def _revisions(self, cluster: Cluster) -> Iterator[RevisionTraffic]:
        for name, jobs in sorted(cluster.state.work.services.routed().items()):
            for job in jobs:
                ready = job.count["running"]
                requests = self._dice.randint(0, MAX_REQUESTS) if ready else 0
                errors = requests // 2 if _is_bad(job.id) else 0
                times = [0] * (len(BUCKETS_S) + 1)
                times[self._dice.randint(6, 8)] = requests - errors
                yield RevisionTraffic(name, job.id, ready, requests, errors, tuple(times))


def _is_bad(job: JobId) -> bool:
    return random.Random(f"revision {job}").random() < BAD_SHARE


def check_replaced(before: Mapping[Key, Record], written: Sequence[Record]) -> None:
    """Raise if a transaction takes a replica of an old revision away, or ends its job, before as
    many of the new one run as the rollout let run.

    `before`: what was on disk until then. A replica that this transaction itself ends counts: which
    came first is not on record.
    """
    for record in written:
        if not isinstance(record, RolloutRecord):
            continue
        known = before.get(key_of(record))
        if not isinstance(known, RolloutRecord) or known.new != record.new:
            continue
        if record.old_allowed < known.old_allowed:
            gangs = [r for r in (*before.values(), *written) if isinstance(r, GangRecord)]
            run = {g.gang for g in gangs if g.job == record.new and g.phase == "running"}
            if len(run) < known.new_allowed:
                raise ReplacedEarly(f"{record} stops a replica while {len(run)} of the new run")
