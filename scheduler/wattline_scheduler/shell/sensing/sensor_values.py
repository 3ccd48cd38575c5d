"""Parses answers of a command, a Prometheus server or a Redfish service to one number.

The input may be garbage, so everything that is no number raises a `ReadingFailed` with what was
found instead.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

from wattline_protocol.text.visible import visible_line

MAX_ANSWER_BYTES = 256 * 1024
"""A Redfish resource with all its links has a few kilobytes."""

MAX_SHOWN_CHARS = 80

POWER_POINTERS = (
    "/Reading",
    "/PowerWatts/Reading",
    "/PowerWatts",
    "/InputPowerWatts/Reading",
    "/PowerInputWatts",
    "/PowerConsumedWatts",
    "/PowerControl/0/PowerConsumedWatts",
)
"""Power values in the DMTF's schemas: Sensor; Outlet, Circuit, PowerDistributionMetrics,
EnvironmentMetrics; older excerpts; PowerSupplyMetrics; Power (supplies, control)."""

WATTS_PER_UNIT = {"W": 1.0, "kW": 1000.0}
"""UCUM units of power of a Sensor."""

OK = 200
NOT_ALLOWED = (401, 403)
"""HTTP statuses."""

ABSENT_STATES = ("Absent", "Disabled", "Deferring")


class ReadingFailed(Exception):
    """No value this time; the text gives the reason for the operator. It may quote what a device
    answered: half a surrogate pair, which JSON can spell, could be neither stored nor sent."""

    def __init__(self, text: str) -> None:
        super().__init__(visible_line(text.encode(errors="replace").decode()))


def plain_number(text: str) -> float:
    """The number printed by a command."""
    try:
        return finite(float(text.strip()))
    except ValueError:
        raise ReadingFailed(f"expected a number, got {cut(text.strip()) or 'nothing'}") from None


def document(data: bytes) -> Any:
    """JSON as plain values."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        text = cut(data.decode("utf-8", errors="replace").strip())
        raise ReadingFailed(f"expected JSON, got {text or 'nothing'}") from None


def number_at(found: Any, pointer: str) -> float:
    """The number at a JSON pointer (RFC 6901)."""
    return as_number(_at(found, pointer), pointer)


def as_number(value: Any, where: str) -> float:
    """A JSON number, or a text that contains one; nothing else."""
    if isinstance(value, str):
        return plain_number(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        shown = "null" if value is None else cut(json.dumps(value))
        raise ReadingFailed(f"expected a number at {where}, got {shown}")
    try:
        return finite(float(value))
    except OverflowError:  # whole numbers have any length in JSON
        raise ReadingFailed(f"the number at {where} is too large") from None


def finite(value: float) -> float:
    """Neither NaN nor infinite: defective meters report these."""
    if not math.isfinite(value):
        raise ReadingFailed(f"expected a finite number, got {value}")
    return value


def prometheus_number(found: Any) -> float:
    """The single value of an instant query's answer."""
    if not isinstance(found, Mapping) or found.get("status") != "success":
        reason = found.get("error", "no status") if isinstance(found, Mapping) else "no object"
        raise ReadingFailed(f"the query failed: {cut(str(reason))}")
    data = found.get("data")
    kind = data.get("resultType") if isinstance(data, Mapping) else None
    result = data.get("result") if isinstance(data, Mapping) else None
    if kind == "vector" and isinstance(result, list):
        if len(result) != 1:
            raise ReadingFailed(_not_one(len(result)))
        result = result[0].get("value") if isinstance(result[0], Mapping) else None
    elif kind != "scalar":
        raise ReadingFailed(f"the query returns a {kind}; one instant value is required")
    if not isinstance(result, list) or len(result) != 2:
        raise ReadingFailed("the answer has no value with its time")
    return as_number(result[1], "the sample")


def _not_one(count: int) -> str:
    if count == 0:
        return "the query returns no recent sample"
    return f"the query returns {count} series, one is required: aggregate them or select a label"


def redfish_power_w(found: Any) -> float:
    """The watts in a resource of one of the DMTF's schemas."""
    if not isinstance(found, Mapping):
        raise ReadingFailed("the answer is no Redfish resource")
    _check_status(found)
    for pointer in POWER_POINTERS:
        try:
            value = _at(found, pointer)
        except ReadingFailed:
            continue
        if not isinstance(value, Mapping):
            return as_number(value, pointer) * _watts_per_unit(found, pointer)
    raise ReadingFailed(f"{_name(found)} has no power reading; set pointer")


def redfish_number(found: Any) -> float:
    """The reading of a Sensor of any kind."""
    if isinstance(found, Mapping):
        _check_status(found)
    return number_at(found, "/Reading")


def _watts_per_unit(found: Mapping[str, Any], pointer: str) -> float:
    units = found.get("ReadingUnits") if pointer == "/Reading" else None
    if units is None:
        return 1.0
    watts = WATTS_PER_UNIT.get(str(units))
    if watts is None:
        raise ReadingFailed(f"{_name(found)} measures {cut(str(units))}, not W or kW")
    return watts


def _check_status(found: Mapping[str, Any]) -> None:
    status = found.get("Status")
    state = status.get("State") if isinstance(status, Mapping) else None
    if state in ABSENT_STATES:
        raise ReadingFailed(f"{_name(found)} is {state}")


def _name(found: Mapping[str, Any]) -> str:
    return cut(str(found.get("@odata.id") or found.get("Name") or "the resource"))


def _at(found: Any, pointer: str) -> Any:
    at = found
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(at, Mapping) and key in at:
            at = at[key]
        elif isinstance(at, list) and key.isdecimal() and int(key) < len(at):
            at = at[int(key)]
        else:
            raise ReadingFailed(f"no value at {pointer}")
    return at


def refusal(status: int, body: bytes) -> str:
    """Meaning of an unexpected HTTP status, for the operator."""
    if status in NOT_ALLOWED:
        return f"not allowed (HTTP {status}): check user and secret_file"
    text = cut(body.decode("utf-8", errors="replace"))
    return f"HTTP {status}" + (f": {text}" if text else "")


def cut(text: str) -> str:
    """Short and on one line, for a log."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_SHOWN_CHARS else f"{line[: MAX_SHOWN_CHARS - 1]}…"
