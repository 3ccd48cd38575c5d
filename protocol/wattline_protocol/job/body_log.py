"""Reader of `[service] log_bodies`: which bodies gateways log, and what is blanked in them."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from wattline_protocol.job import values
from wattline_protocol.job.patterns import MAX_STATES, PATTERN, states
from wattline_protocol.text.quantities import format_duration
from wattline_protocol.text.toml_fields import texts

KINDS = ("email", "card", "phone")
MAX_BLANKS = 16
MIN_RETENTION_S = 3_600.0
MAX_RETENTION_S = 366 * 86_400.0
RETENTION = "30d"

_TABLE = '{ share = 0.01, blank = ["email", "card", "phone"], retention = "30d" }'


def body_log_rule(value: object) -> dict[str, object]:
    """{ share = 0.01, blank = […], retention = "30d" }; as a flag share=0.01,blank=email+card."""
    table = _pairs(value) if isinstance(value, str) else value
    if not isinstance(table, Mapping) or not {"share"} <= set(table) <= {
        "share",
        "blank",
        "retention",
    }:
        raise ValueError(f"expected {_TABLE}, as a flag share=0.01,blank=email+card,retention=30d")
    return {
        "share": _part("share", values.share, table["share"]),
        "blank": _part("blank", blanks, table.get("blank", KINDS)),
        "retention_s": _part("retention", _retention, table.get("retention", RETENTION)),
    }


def body_log_table(rule: Mapping[str, Any]) -> dict[str, object]:
    """The form in a job file, for `body_log_rule`."""
    retention = format_duration(rule["retention_s"])
    return {"share": rule["share"], "blank": list(rule["blank"]), "retention": retention}


def _pairs(text: str) -> dict[str, object]:
    found = values.pairs(text)
    if "blank" in found:
        found["blank"] = [word for word in str(found["blank"]).split("+") if word]
    with suppress(ValueError):  # `share` says what is wrong
        found["share"] = float(str(found.get("share")))
    return found


def _part(name: str, read: Any, value: object) -> Any:
    try:
        return read(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _retention(value: object) -> float:
    found = values.duration(value)
    if not MIN_RETENTION_S <= found <= MAX_RETENTION_S:
        raise ValueError("must be from 1h to 366d")
    return found


def blanks(value: object) -> tuple[str, ...]:
    """What is blanked: kinds of text, and patterns after `re:`."""
    found: Sequence[str] = texts(MAX_BLANKS)(value)
    total = 0
    for entry in found:
        if entry.startswith(PATTERN):
            total += states(entry.removeprefix(PATTERN))
            if total > MAX_STATES:
                raise ValueError(_too_large(entry, total))
        elif entry not in KINDS:
            raise ValueError(f"{entry!r} is none of {', '.join(KINDS)} or re:PATTERN")
    if len(set(found)) < len(found):
        raise ValueError("each entry may occur once")
    return tuple(found)


def _too_large(entry: str, total: int) -> str:
    """With the sum up to the entry."""
    many = f"{entry} makes about {total:,} states, at most {MAX_STATES:,} are allowed in all"
    return f"{many}; each repeat counts, and what matches any character counts 10: repeat less"
