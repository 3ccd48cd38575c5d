"""Meters and cooling plant as keys of a site file: the inverse of `sensing_keys`."""

from typing import Any

from wattline_protocol.site.sensing import (
    Access,
    CommandSource,
    Meter,
    Plant,
    PrometheusSource,
    RedfishSource,
    Sensor,
    Source,
)
from wattline_protocol.site.wall_power import PERMILLE
from wattline_protocol.text.quantities import format_duration, format_power


def meter_keys(meter: Meter) -> dict[str, Any]:
    """The table `meter` of a power domain."""
    written = _sensor(meter.sensor) | {
        "stale_after": format_duration(meter.stale_after_s),
        "frozen_after": format_duration(meter.frozen_after_s),
        "counts_fixed_load": meter.counts_fixed_load,
        "also_counts": format_power(meter.also_counts_mw),
    }
    if meter.fallback_mw is not None:
        written["fallback_budget"] = format_power(meter.fallback_mw)
    return written


def plant_keys(plant: Plant) -> dict[str, Any]:
    """The keys of a cooling zone's plant."""
    written: dict[str, Any] = {}
    if plant.units:
        written |= {"units": plant.units, "unit_capacity": format_power(plant.unit_mw)}
    if plant.capacity_at:
        points = ((p.outside_c, p.share_permille / PERMILLE) for p in plant.capacity_at)
        written["capacity_at"] = [{"outside_c": c, "share": share} for c, share in points]
    if plant.inlet_limit_c is not None:
        written["inlet_limit_c"] = plant.inlet_limit_c
    if plant.overbook_permille != PERMILLE:
        written["overbook"] = plant.overbook_permille / PERMILLE
    if plant.units_sensor is not None:
        written["units_sensor"] = _sensor(plant.units_sensor)
    if plant.outside_sensor is not None:
        written["outside_sensor"] = _sensor(plant.outside_sensor)
    if plant.weather_file:
        written["weather_file"] = plant.weather_file
    return written


def _sensor(sensor: Sensor) -> dict[str, Any]:
    return _source(sensor.source) | {
        "scale": sensor.scale,
        "period": format_duration(sensor.period_s),
        "timeout": format_duration(sensor.timeout_s),
    }


def _source(source: Source) -> dict[str, Any]:
    match source:
        case CommandSource():
            written: dict[str, Any] = {"command": list(source.argv)}
        case PrometheusSource():
            return {"prometheus": source.url, "query": source.query} | access_keys(source.access)
        case RedfishSource():
            written = {"redfish": source.url} | access_keys(source.access)
    return written | ({"pointer": source.pointer} if source.pointer else {})


def access_keys(access: Access) -> dict[str, str]:
    """Authentication over HTTP, as keys."""
    keys = {
        "user": access.user,
        "secret_file": access.secret_file,
        "ca_file": access.ca_file,
    }
    return {key: value for key, value in keys.items() if value}
