"""Site file keys for meters and cooling plant."""

from itertools import pairwise
from urllib.parse import urlsplit

from wattline_protocol.site import values as v
from wattline_protocol.site.sensing import (
    USUAL_FROZEN_PERIODS,
    USUAL_PERIOD_S,
    USUAL_STALE_PERIODS,
    USUAL_TIMEOUT_S,
    Access,
    CommandSource,
    Meter,
    OutsidePoint,
    Plant,
    PrometheusSource,
    RedfishSource,
    Sensor,
    Source,
)
from wattline_protocol.site.wall_power import PERMILLE
from wattline_protocol.text.toml_fields import Fields, flag, number, text, texts, whole

MAX_UNITS = 1_000
MAX_POINTS = 32
MAX_OVERBOOK = 2.0
MAX_ARGUMENTS = 64
LOWEST_OUTSIDE_C, HIGHEST_OUTSIDE_C = -60.0, 70.0
LOOPBACK = ("localhost", "127.0.0.1", "::1")

WAYS = ("command", "prometheus", "redfish")
NO_ARGUMENTS: tuple[str, ...] = ()


def meter(parent: Fields) -> Meter | None:
    """The table `meter` of a power domain; None when it is absent."""
    is_there = "meter" in parent
    fields = parent.table("meter")
    if not is_there:
        return None
    sensor = _sensor(fields)
    period_s = USUAL_PERIOD_S if sensor is None else sensor.period_s
    stale = v.seconds(period_s, 3600)
    frozen = v.seconds(2 * period_s, 86_400)
    stale_after_s = fields.take("stale_after", stale, period_s * USUAL_STALE_PERIODS)
    frozen_after_s = fields.take("frozen_after", frozen, period_s * USUAL_FROZEN_PERIODS)
    counts_fixed_load = fields.take("counts_fixed_load", flag, True)
    also_counts_mw = v.power(fields, "also_counts") or 0
    fallback_mw = v.power(fields, "fallback_budget")
    fields.end()
    if sensor is None:
        return None
    return Meter(
        sensor=sensor,
        stale_after_s=stale_after_s,
        frozen_after_s=frozen_after_s,
        counts_fixed_load=counts_fixed_load,
        also_counts_mw=also_counts_mw,
        fallback_mw=fallback_mw,
    )


def plant(fields: Fields) -> Plant | None:
    """The keys of a cooling zone's plant; None when there is none of them."""
    read = Plant(
        units=fields.take("units", whole(1, MAX_UNITS), 0),
        unit_mw=v.power(fields, "unit_capacity") or 0,
        capacity_at=fields.take("capacity_at", _points, ()),
        inlet_limit_c=fields.take("inlet_limit_c", number(5, 60), None),
        overbook_permille=round(PERMILLE * fields.take("overbook", number(1, MAX_OVERBOOK), 1.0)),
        units_sensor=_table_of_sensor(fields, "units_sensor"),
        outside_sensor=_table_of_sensor(fields, "outside_sensor"),
        weather_file=fields.take("weather_file", v.file_path, ""),
    )
    _check_plant(fields, read)
    return None if read == Plant() else read


def _check_plant(fields: Fields, read: Plant) -> None:
    if (read.units > 0) != (read.unit_mw > 0):
        missing = "unit_capacity" if read.units else "units"
        fields.blame("units and unit_capacity must be set together", missing)
    if read.overbook_permille > PERMILLE and read.inlet_limit_c is None:
        fields.blame("overbook requires inlet_limit_c: inlet temperatures bound it", "overbook")
    if read.units_sensor is not None and not read.units:
        fields.blame("units_sensor requires units and unit_capacity", "units_sensor")
    has_outside = read.outside_sensor is not None or bool(read.weather_file)
    if read.outside_sensor is not None and read.weather_file:
        fields.blame("outside_sensor and weather_file are alternatives; keep one", "weather_file")
    if has_outside != bool(read.capacity_at):
        text_ = "capacity_at requires an outside temperature: outside_sensor or weather_file"
        fields.blame(text_, "capacity_at" if read.capacity_at else "weather_file")


def _table_of_sensor(parent: Fields, key: str) -> Sensor | None:
    is_there = key in parent
    fields = parent.table(key)
    if not is_there:
        return None
    sensor = _sensor(fields)
    fields.end()
    return sensor


def _sensor(fields: Fields) -> Sensor | None:
    """Source and period of a value; reports errors."""
    source = _source(fields)
    period_s = fields.take("period", v.seconds(0.2, 3600), USUAL_PERIOD_S)
    timeout_s = fields.take("timeout", v.seconds(0.1, 600), min(USUAL_TIMEOUT_S, period_s))
    scale = fields.take("scale", number(1e-9, 1e9), 1.0)
    if timeout_s > period_s:
        fields.blame("timeout must be at most the period", "timeout")
    return None if source is None else Sensor(source, scale, period_s, timeout_s)


def _source(fields: Fields) -> Source | None:
    argv = fields.take("command", texts(MAX_ARGUMENTS), NO_ARGUMENTS)
    prometheus = fields.take("prometheus", read_url, "")
    redfish = fields.take("redfish", read_url, "")
    query = fields.take("query", text, "")
    pointer = fields.take("pointer", _pointer, "")
    access = read_access(fields, prometheus or redfish)
    ways = [way for way in WAYS if way in fields]
    if len(ways) != 1:
        given = " and ".join(ways) or "nothing"
        fields.blame(f"expected one source, {' or '.join(WAYS)}; given: {given}", *ways[1:2])
        return None
    _check_keys(fields, ways[0])
    if argv:
        return CommandSource(argv, pointer)
    if prometheus:
        return PrometheusSource(prometheus, query, access)
    return RedfishSource(redfish, pointer, access) if redfish else None


BELONGS: dict[str, tuple[str, ...]] = {
    "query": ("prometheus",),
    "pointer": ("command", "redfish"),
    "user": ("prometheus", "redfish"),
    "secret_file": ("prometheus", "redfish"),
    "ca_file": ("prometheus", "redfish"),
}
"""Keys that are valid only with some kinds of source."""


def _check_keys(fields: Fields, way: str) -> None:
    for key, ways in BELONGS.items():
        if key in fields and way not in ways:
            fields.blame(f"{key} applies to {' or '.join(ways)}, not to {way}", key)
    if way == "prometheus" and "query" not in fields:
        fields.blame('query is missing, for example query = "sum(pdu_power_watts)"', "prometheus")


def read_access(fields: Fields, url: str) -> Access:
    """Authentication for `url`."""
    access = Access(
        user=fields.take("user", text, ""),
        secret_file=fields.take("secret_file", v.file_path, ""),
        ca_file=fields.take("ca_file", v.file_path, ""),
    )
    parts = urlsplit(url)
    if access.secret_file and parts.scheme == "http" and parts.hostname not in LOOPBACK:
        fields.blame(
            "a secret requires https: over http it could be read in transit", "secret_file"
        )
    if access.user and not access.secret_file:
        fields.blame("user requires secret_file, the file with the password", "user")
    return access


def read_url(value: object) -> str:
    """An http or https URL without a password in it."""
    url = text(value)
    wanted = 'expected a URL such as "https://10.0.0.9/redfish/v1/…"'
    try:
        parts = urlsplit(url)
        port_is_fine = parts.port != 0
    except ValueError as error:
        raise ValueError(wanted) from error
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_fine:
        raise ValueError(wanted)
    if parts.username or parts.password:
        raise ValueError("remove user and password from the URL; set user and secret_file")
    return url


def _pointer(value: object) -> str:
    pointer = text(value)
    if pointer and not pointer.startswith("/"):
        raise ValueError('expected a JSON pointer such as "/PowerControl/0/PowerConsumedWatts"')
    return pointer


def _points(value: object) -> tuple[OutsidePoint, ...]:
    """[{ outside_c = 35, share = 1.0 }, { outside_c = 45, share = 0.8 }], rising."""
    wanted = (
        "expected points such as [{ outside_c = 35, share = 1.0 }, { outside_c = 45, share = 0.8 }]"
    )
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_POINTS:
        raise ValueError(wanted)
    points = tuple(_point(item, wanted) for item in value)
    if any(b.outside_c <= a.outside_c for a, b in pairwise(points)):
        raise ValueError("expected the points in rising order of outside_c, each once")
    return points


def _point(item: object, wanted: str) -> OutsidePoint:
    if not isinstance(item, dict) or set(item) != {"outside_c", "share"}:
        raise ValueError(wanted)
    outside_c = number(LOWEST_OUTSIDE_C, HIGHEST_OUTSIDE_C)(item["outside_c"])
    return OutsidePoint(outside_c, v.permille(item["share"]))
