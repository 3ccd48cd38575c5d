"""External sensors: meters of domains, plant of cooling zones, and how to read them.

Declared in the site file (`sensing_keys` reads the keys), read by the scheduler's shell, evaluated
by its core. A struct names the source of a value; it never contains a secret, only its file.
"""

import msgspec

from wattline_protocol.site.wall_power import PERMILLE


class Access(msgspec.Struct, frozen=True):
    """Authentication over HTTP."""

    user: str = ""
    """With a user the secret is a password (basic authentication), without one a bearer token."""
    secret_file: str = ""
    """A file with mode 0600 whose first line is the secret; empty: none is sent."""
    ca_file: str = ""
    """Certificates that the server's must chain to; empty: those of the system."""


class CommandSource(msgspec.Struct, frozen=True, tag_field="by", tag="command"):
    """A program that prints the value, or JSON that contains it."""

    argv: tuple[str, ...]
    pointer: str = ""
    """Position in the JSON (RFC 6901); empty: the output is the value."""


class PrometheusSource(msgspec.Struct, frozen=True, tag_field="by", tag="prometheus"):
    """An instant query that returns one value."""

    url: str
    """Of the server, without /api."""
    query: str
    access: Access = Access()


class RedfishSource(msgspec.Struct, frozen=True, tag_field="by", tag="redfish"):
    """A resource of a Redfish service, or any other JSON behind a URL."""

    url: str
    pointer: str = ""
    """Position in the resource (RFC 6901); empty: the position in the DMTF's schemas."""
    access: Access = Access()


Source = CommandSource | PrometheusSource | RedfishSource

USUAL_PERIOD_S = 5.0
USUAL_TIMEOUT_S = 2.0
USUAL_STALE_PERIODS = 3
USUAL_FROZEN_PERIODS = 12


class Sensor(msgspec.Struct, frozen=True):
    """One value, polled periodically."""

    source: Source
    scale: float = 1.0
    """The reading times this is in watts, units or °C."""
    period_s: float = USUAL_PERIOD_S
    timeout_s: float = USUAL_TIMEOUT_S


class Meter(msgspec.Struct, frozen=True):
    """The meter of one power domain, and what its value includes."""

    sensor: Sensor
    stale_after_s: float = USUAL_PERIOD_S * USUAL_STALE_PERIODS
    frozen_after_s: float = USUAL_PERIOD_S * USUAL_FROZEN_PERIODS
    """A value unchanged for this long while the nodes' draw changes: the meter has stopped."""
    counts_fixed_load: bool = True
    """Whether it includes the domain's fixed load."""
    also_counts_mw: int = 0
    """Load it measures that the domain's breaker does not carry."""
    fallback_mw: int | None = None
    """Budget while it is distrusted; None: the books suffice."""


class OutsidePoint(msgspec.Struct, frozen=True):
    """Share of its capacity that a unit can remove at this outside temperature."""

    outside_c: float
    share_permille: int


class Plant(msgspec.Struct, frozen=True):
    """Cooling plant of a zone."""

    units: int = 0
    """Number of units; 0: not specified, the zone's capacity is fixed."""
    unit_mw: int = 0
    """Heat that one unit removes."""
    capacity_at: tuple[OutsidePoint, ...] = ()
    """Rising in temperature; interpolated between the points, constant beyond them."""
    inlet_limit_c: float | None = None
    """Limit of the inlets of the zone's nodes; None: no limit."""
    overbook_permille: int = PERMILLE
    """Share of its capacity that leases may book while inlets are cool."""
    units_sensor: Sensor | None = None
    outside_sensor: Sensor | None = None
    weather_file: str = ""
    """Outside temperature by the hour of the year; empty: not from a file."""

    def booked_mw(self, heat_mw: int) -> int:
        """Most that leases may book where this heat can be removed."""
        return heat_mw * self.overbook_permille // PERMILLE
