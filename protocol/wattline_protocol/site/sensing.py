"""What stands outside the agents: meters of domains, plant of cooling zones, and how to read them.

Declared in the site file (`sitesensing` reads the keys), read by the scheduler's shell, judged by
its core. A struct says where a number comes from; it never holds a secret, only the file of one.
"""

import msgspec

from wattline_protocol.site.wall_power import PERMILLE


class Access(msgspec.Struct, frozen=True):
    """How to be let in over HTTP."""

    user: str = ""
    """With a user the secret is a password (basic authentication), without one a bearer token."""
    secret_file: str = ""
    """A file with mode 0600 whose first line is the secret; empty: none is sent."""
    ca_file: str = ""
    """Certificates that the server's must chain to; empty: those of the system."""


class CommandSource(msgspec.Struct, frozen=True, tag_field="by", tag="command"):
    """A program that prints the number, or JSON that holds it."""

    argv: tuple[str, ...]
    pointer: str = ""
    """Where in the JSON (RFC 6901); empty: the output is the number."""


class PrometheusSource(msgspec.Struct, frozen=True, tag_field="by", tag="prometheus"):
    """An instant query that gives one value."""

    url: str
    """Of the server, without /api."""
    query: str
    access: Access = Access()


class RedfishSource(msgspec.Struct, frozen=True, tag_field="by", tag="redfish"):
    """A resource of a Redfish service, or any other JSON behind a URL."""

    url: str
    pointer: str = ""
    """Where in the resource (RFC 6901); empty: where the DMTF's schemas have it."""
    access: Access = Access()


Source = CommandSource | PrometheusSource | RedfishSource

USUAL_PERIOD_S = 5.0
USUAL_TIMEOUT_S = 2.0
USUAL_STALE_PERIODS = 3
USUAL_FROZEN_PERIODS = 12


class Sensor(msgspec.Struct, frozen=True):
    """One number, read again and again."""

    source: Source
    scale: float = 1.0
    """The reading times this is in watts, units or °C."""
    period_s: float = USUAL_PERIOD_S
    timeout_s: float = USUAL_TIMEOUT_S


class Meter(msgspec.Struct, frozen=True):
    """The meter of one power domain, and what its value stands for."""

    sensor: Sensor
    stale_after_s: float = USUAL_PERIOD_S * USUAL_STALE_PERIODS
    frozen_after_s: float = USUAL_PERIOD_S * USUAL_FROZEN_PERIODS
    """The same value for so long, while the nodes' draw changes: it has stopped."""
    counts_fixed_load: bool = True
    """Whether it sees the domain's fixed load."""
    also_counts_mw: int = 0
    """What it sees that the domain's breaker does not carry."""
    fallback_mw: int | None = None
    """Budget while it cannot be believed; None: the books are enough."""


class OutsidePoint(msgspec.Struct, frozen=True):
    """At this outside temperature a unit can remove this share of its capacity."""

    outside_c: float
    share_permille: int


class Plant(msgspec.Struct, frozen=True):
    """What cools a zone."""

    units: int = 0
    """How many there are; 0: not stated, the zone's capacity is what it is."""
    unit_mw: int = 0
    """Heat that one unit removes."""
    capacity_at: tuple[OutsidePoint, ...] = ()
    """Rising in temperature; between the points in proportion, outside them as at the nearest."""
    inlet_limit_c: float | None = None
    """The inlets of the zone's nodes shall stay below; None: inlets limit nothing."""
    overbook_permille: int = PERMILLE
    """What leases may book of its capacity while inlets are cool."""
    units_sensor: Sensor | None = None
    outside_sensor: Sensor | None = None
    weather_file: str = ""
    """Outside temperature by the hour of the year; empty: not from a file."""

    def booked_mw(self, heat_mw: int) -> int:
        """What leases may book at most where so much heat can be removed."""
        return heat_mw * self.overbook_permille // PERMILLE
