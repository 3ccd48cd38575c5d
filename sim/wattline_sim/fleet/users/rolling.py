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
from wattline_protocol.site.model import Gateway, Site
from wattline_protocol.wire.client_messages import Request
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
from wattline_sim.fleet.machine import SIM_DEMAND_MW, SIM_EXIT, SIM_SECONDS
from wattline_sim.fleet.users.naming import NAMES, USERS
from wattline_sim.fleet.world import World

SITES_SHARE = 0.5
REPORT_S = 1.0
LOST_SHARE = 0.1
"""Of reports."""
SILENCE_MEAN_S, SILENCE_S = 40.0, 15.0
"""Between silences of a gateway, and the longest of them."""
ROLL_MEAN_S, STEER_MEAN_S = 5.0, 20.0
BAD_SHARE = 0.25
"""Of revisions: half of their answers are errors."""
MAX_REQUESTS = 60
"""In one report."""

Tell = Callable[[Request, UserName], None]
Roll = Callable[[JobSpec, RolloutOptions | None, UserName], None]

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


class Rolling:
    """Gateways of one site."""

    def __init__(self, world: World, dice: random.Random, *, may: bool) -> None:
        self._world, self._dice = world, dice
        count = dice.choice((1, 2))
        is_wanted = dice.random() < SITES_SHARE and may
        self._names = tuple(f"gw{number}" for number in range(count)) if is_wanted else ()
        self._silent_until_s = dict.fromkeys(self._names, 0.0)

    def with_gateways(self, site: Site) -> Site:
        """The site with them."""
        gateways = tuple(Gateway(name, "sim://workers", "sim:0") for name in self._names)
        return msgspec.structs.replace(site, gateways=gateways) if gateways else site

    def begin(
        self,
        cluster: Callable[[], Cluster | None],
        tell: Tell,
        submit: Roll,
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
            self._world.after(REPORT_S, lambda: report(name))

        def steer() -> None:
            if is_over():
                return
            action: Literal["promote", "back"] = "back" if self._dice.random() < 0.3 else "promote"
            tell(SteerRollout(self._dice.choice(NAMES), action), UserName("ops"))
            self._world.after(self._dice.expovariate(1.0 / STEER_MEAN_S), steer)

        def roll() -> None:
            if is_over():
                return
            self._submit_next(cluster(), submit)
            self._world.after(self._dice.expovariate(1.0 / ROLL_MEAN_S), roll)

        for name in self._names:
            self._world.after(self._dice.uniform(0.0, REPORT_S), lambda name=name: report(name))  # type: ignore[misc] # mypy cannot type a lambda's default
        self._world.after(self._dice.expovariate(1.0 / STEER_MEAN_S), steer)
        self._world.after(self._dice.expovariate(1.0 / ROLL_MEAN_S), roll)

    def _submit_next(self, cluster: Cluster | None, submit: Roll) -> None:
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

    def _is_heard(self, name: str) -> bool:
        if self._dice.random() < REPORT_S / SILENCE_MEAN_S:
            self._silent_until_s[name] = self._world.now_s + self._dice.uniform(0.0, SILENCE_S)
        is_lost = self._dice.random() < LOST_SHARE
        return not is_lost and self._world.now_s >= self._silent_until_s[name]

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
