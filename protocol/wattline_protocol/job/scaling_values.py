"""Readers of the `[service]` keys about scaling: replicas, SLO, and idle services."""

from collections.abc import Mapping
from typing import Any

from wattline_protocol.job import values
from wattline_protocol.job.spec import (
    DEFAULT_ERRORS,
    MAX_ERRORS,
    MAX_P95_S,
    MIN_ERRORS,
    MIN_P95_S,
    CountRange,
    JobSpec,
)
from wattline_protocol.text.quantities import format_duration
from wattline_protocol.text.toml_fields import number

MAX_REPLICAS = 10_000
MIN_IDLE_S, MAX_IDLE_S = 60.0, 30 * 86_400.0

_SLO = '{ p95 = "200ms", errors = 0.001 }'


def replicas(value: object) -> int | dict[str, int]:
    """A number, or a range as text: "2-8"; a range of one number is that number."""
    return values.count_range(MAX_REPLICAS, "; for none while idle set idle_to_zero")(value)


def slo_rule(value: object) -> dict[str, float]:
    """{ p95 = "200ms", errors = 0.001 }; as a flag p95=200ms,errors=0.001."""
    table = values.pairs(value) if isinstance(value, str) else value
    if not isinstance(table, Mapping) or not {"p95"} <= set(table) <= {"p95", "errors"}:
        raise ValueError(f"expected {_SLO}, as a flag p95=200ms,errors=0.001")
    try:
        p95_s = values.duration(table["p95"])
    except ValueError as error:
        raise ValueError(f"p95: {error}") from error
    if not MIN_P95_S <= p95_s <= MAX_P95_S:
        raise ValueError("p95: must be from 1ms to 1h")
    try:
        errors = number(MIN_ERRORS, MAX_ERRORS)(_figure(table.get("errors", DEFAULT_ERRORS)))
    except ValueError as error:
        raise ValueError(f"errors: {error}") from error
    return {"p95_s": p95_s, "errors": errors}


def _figure(value: object) -> object:
    """A number as a flag's text: the number."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def slo_table(rule: Mapping[str, Any]) -> dict[str, object]:
    """The form in a job file, for `slo_rule`."""
    return {"p95": format_duration(rule["p95_s"]), "errors": rule["errors"]}


def idle_time(value: object) -> float:
    """How long a service without requests keeps its replicas."""
    idle_s = values.duration(value)
    if not MIN_IDLE_S <= idle_s <= MAX_IDLE_S:
        raise ValueError("must be from 1m to 30d; omit the key to keep replicas")
    return idle_s


def scaling_problems(job: JobSpec) -> list[tuple[str, bool, str]]:
    """Keys about scaling that are valid alone and invalid together."""
    service = job.service
    if service is None:
        return []
    is_range = isinstance(service.replicas, CountRange)
    needs_slo = 'set service.slo as well, as in slo = { p95 = "200ms" }'
    return [
        (
            "service.replicas",
            is_range and service.slo is None,
            f"a range follows the load and an SLO: {needs_slo}",
        ),
        (
            "service.idle_to_zero",
            bool(service.idle_to_zero_s) and service.slo is None,
            f"only a service with an SLO is scaled: {needs_slo}",
        ),
        (
            "service.idle_to_zero",
            bool(service.idle_to_zero_s) and not service.fallback,
            "without replicas nothing answers until one is loaded: set service.fallback as well",
        ),
    ]
