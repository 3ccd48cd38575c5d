"""Readers of `[service]`: the cache of answers, and what answers instead."""

from collections.abc import Mapping
from typing import Any

import msgspec

from wattline_protocol.job import values
from wattline_protocol.text.quantities import (
    format_duration,
    format_size,
    parse_size_bytes,
)
from wattline_protocol.text.toml_fields import quantity, texts

FROM_CACHE = "cache"
STATIC = "static:"
MAX_FALLBACKS = 8
MAX_FALLBACK_CHARS = 4096
MAX_TTL_S = 30 * 86_400.0
MIN_CACHE_BYTES = 64 * 1024
MAX_CACHE_BYTES = 16 * 1024**3

_CACHE = '{ ttl = "5m", size = "256MiB" }'


def cache_rule(value: object) -> dict[str, object]:
    """{ ttl = "5m", size = "256MiB" }; as a flag ttl=5m,size=256MiB."""
    table = values.pairs(value) if isinstance(value, str) else value
    if not isinstance(table, Mapping) or set(table) != {"ttl", "size"}:
        raise ValueError(f"expected {_CACHE}, as a flag ttl=5m,size=256MiB")
    try:
        ttl_s = values.duration(table["ttl"])
    except ValueError as error:
        raise ValueError(f"ttl: {error}") from error
    try:
        size_bytes = quantity(parse_size_bytes)(table["size"])
    except ValueError as error:
        raise ValueError(f"size: {error}") from error
    if not 0 < ttl_s <= MAX_TTL_S:
        raise ValueError("ttl: must be above 0 and at most 30 days")
    if not MIN_CACHE_BYTES <= size_bytes <= MAX_CACHE_BYTES:
        low, high = format_size(MIN_CACHE_BYTES), format_size(MAX_CACHE_BYTES)
        raise ValueError(f"size: must be from {low} to {high}")
    return {"ttl_s": ttl_s, "size_bytes": size_bytes}


def cache_table(rule: Mapping[str, Any]) -> dict[str, object]:
    """The form in a job file, for `cache_rule`."""
    return {"ttl": format_duration(rule["ttl_s"]), "size": format_size(rule["size_bytes"])}


def fallbacks(value: object) -> tuple[str, ...]:
    """What answers when the service cannot: services, "cache", or "static:" and JSON."""
    chain = texts(MAX_FALLBACKS)(value)
    for entry in chain:
        if len(entry) > MAX_FALLBACK_CHARS:
            raise ValueError(f"an entry has at most {MAX_FALLBACK_CHARS} characters")
        if entry.startswith(STATIC):
            try:
                msgspec.json.decode(entry.removeprefix(STATIC))
            except (msgspec.DecodeError, RecursionError) as error:
                raise ValueError(f'after "{STATIC}" expected JSON: {error}') from None
        else:
            values.name(entry)
    if len(set(chain)) < len(chain):
        raise ValueError("each entry may occur once")
    return chain
