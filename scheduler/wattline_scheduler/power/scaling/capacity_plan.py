"""What a service will take by the hour of the week, from the load that it had; pure.

The replicas of an hour are those that its scaler would start for the busiest minute of that hour,
and their watts the least caps that answer in time: the constants are those of `work_rate`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from wattline_protocol.site.model import Tariff
from wattline_protocol.views.capacity_views import HourPlan, LoadPlan, Tier
from wattline_scheduler.power.scaling.load_history import WEEK_HOURS, HourLoad
from wattline_scheduler.power.scaling.scaler import FLOW_AIM, LEAST_ROOM, START_ABOVE, ReplicaGpu

FIRST_MONDAY_HOUR = 4 * 24
"""The epoch began on a Thursday."""

MW_PER_W = 1_000.0
W_PER_KW = 1_000.0


@dataclass(frozen=True, slots=True)
class Replica:
    """What a replica of the service is known to do."""

    per_s: float
    """Work a second at full performance."""
    alone_s: float
    gpu: ReplicaGpu | None
    """Each of its GPUs; None = it has none."""
    gpus: int

    def performance(self, rate: float, replicas: int, p95_s: float) -> float:
        """That each of so many needs."""
        return min(rate / (replicas * self.per_s) + self.alone(p95_s), 1.0)

    def alone(self, p95_s: float) -> float:
        """Performance that the time of a single request needs."""
        return self.alone_s / (FLOW_AIM * p95_s)

    def needed(self, rate: float, p95_s: float) -> int:
        """Replicas for a load, one at least."""
        room = max(START_ABOVE - self.alone(p95_s), LEAST_ROOM)
        return max(1, ceil(rate / (self.per_s * room)))

    def watts(self, performance: float) -> float:
        """Caps of its GPUs."""
        return 0.0 if self.gpu is None else self.gpus * self.gpu.cap_mw(performance) / MW_PER_W


def hours_of_week(hours: Mapping[int, HourLoad], weeks: int, now_hour: int) -> dict[int, HourLoad]:
    """Load by the hour of the week: the busiest minute, and the mean, of the newest weeks. `hours`
    and `now_hour` count from the epoch; the hour in progress is left out."""
    found: dict[int, HourLoad] = {}
    for hour in range(now_hour - weeks * WEEK_HOURS, now_hour):
        load = hours.get(hour)
        if load is not None and load.seconds:
            at = (hour - FIRST_MONDAY_HOUR) % WEEK_HOURS
            found[at] = found[at].plus(load) if at in found else load
    return dict(sorted(found.items()))


def plan(
    hours: Mapping[int, HourLoad], replica: Replica, p95_s: float, growth: float, tariff: Tariff
) -> LoadPlan:
    """A week at `growth` times the load; there must be hours."""
    rows = [_hour(at, load, replica, p95_s, growth, tariff) for at, load in hours.items()]
    most = max(row.replicas for row in rows)
    least = min(row.replicas for row in rows)
    costs = [row.cost_usd for row in rows if row.cost_usd is not None]
    burst_h = sum(row.replicas - least for row in rows)
    return LoadPlan(
        growth=growth,
        hours=tuple(rows),
        replicas=most,
        gpus=most * replica.gpus,
        watts=max(row.watts for row in rows),
        kwh=sum(row.kwh for row in rows),
        cost_usd=sum(costs) if costs else None,
        always_on=Tier(least, float(least * replica.gpus * WEEK_HOURS)),
        burst=Tier(most - least, float(burst_h * replica.gpus)),
    )


def _hour(
    at: int, load: HourLoad, replica: Replica, p95_s: float, growth: float, tariff: Tariff
) -> HourPlan:
    busiest, mean = load.busiest * growth, load.work / load.seconds * growth
    count = replica.needed(busiest, p95_s)
    kwh = count * replica.watts(replica.performance(mean, count, p95_s)) / W_PER_KW
    gpus = count * replica.gpus
    price = gpus * tariff.usd_per_gpu_hour + kwh * tariff.usd_per_kwh
    has_price = tariff.usd_per_kwh > 0.0 or tariff.usd_per_gpu_hour > 0.0
    return HourPlan(
        hour=at,
        busiest_per_s=busiest,
        mean_per_s=mean,
        replicas=count,
        gpus=gpus,
        watts=count * replica.watts(replica.performance(busiest, count, p95_s)),
        kwh=kwh,
        cost_usd=price if has_price else None,
    )


def unknown(hours: Mapping[int, HourLoad], replica: Replica, *, has_tariff: bool) -> list[str]:
    """What is not known, and what a plan leaves out."""
    found = []
    if len(hours) < WEEK_HOURS:
        missing = WEEK_HOURS - len(hours)
        found.append(f"{missing} of the {WEEK_HOURS} hours of a week: no load of them is on record")
    if replica.gpu is None:
        found.append("watts: its replicas have no GPU")
    if not has_tariff:
        found.append("money: [tariff] of the site file has no price")
    found.append("other numbers of replicas: the work of one is taken as learned from those now")
    found.append("other mixes of requests: work counts as it did in these weeks")
    found.append("hosts and cooling: watts are caps of GPUs, which may draw less")
    return found
