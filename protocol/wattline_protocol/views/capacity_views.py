"""What a service will take by the hour of the week: request and answer of `wattline capacity`."""

from typing import Annotated

import msgspec

from wattline_protocol.job.spec import Slo
from wattline_protocol.wire.bounds import Name

MAX_WEEKS = 5
MAX_GROWTH = 1_000.0


class GetCapacity(msgspec.Struct, frozen=True, tag_field="t", tag="get_capacity"):
    """A plan from the load that the service had."""

    name: Name[str]
    weeks: Annotated[int, msgspec.Meta(ge=1, le=MAX_WEEKS)] = 4
    """The newest ones count."""
    growth: Annotated[float, msgspec.Meta(gt=0.0, le=MAX_GROWTH)] = 1.0
    """The load is so many times that of these weeks."""
    slo: Slo | None = None
    """None: the SLO of its job."""


class HourPlan(msgspec.Struct, frozen=True):
    """An hour of the week."""

    hour: int
    """From Monday 00:00 UTC."""
    busiest_per_s: float
    """Work a second of the busiest minute."""
    mean_per_s: float
    replicas: int
    """That the busiest minute needs."""
    gpus: int
    watts: float
    """Caps of their GPUs in the busiest minute."""
    kwh: float
    """Of the hour, at the caps that its mean needs."""
    cost_usd: float | None
    """None: the site has no tariff."""


class Tier(msgspec.Struct, frozen=True):
    """Replicas, and what they take in a week."""

    replicas: int
    gpu_hours: float


class LoadPlan(msgspec.Struct, frozen=True):
    """A week at so many times the load."""

    growth: float
    hours: tuple[HourPlan, ...]
    """Those of which the load is known."""
    replicas: int
    """In the busiest hour, as the next ones."""
    gpus: int
    watts: float
    kwh: float
    """Of the known hours of a week, as the next one."""
    cost_usd: float | None
    always_on: Tier
    """What the quietest known hour needs, all week."""
    burst: Tier
    """What the busiest hour needs above that, in the hours that need it."""


class CapacityView(msgspec.Struct, frozen=True, tag_field="t", tag="capacity"):
    """A plan for the load, and for twice of it."""

    service: str
    slo: Slo
    weeks: int
    known_hours: int
    """Of the 168 of a week."""
    replica_per_s: float
    """Work that an uncapped replica answers a second, as learned."""
    alone_s: float
    """p95 of a request on an uncapped replica without load."""
    replica_gpus: int
    plans: tuple[LoadPlan, ...]
    unknown: tuple[str, ...]
    """What is not known, and what the plan leaves out."""
