"""Reader of `[service] log_bodies`: which bodies gateways log, and what is blanked in them."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from wattline_protocol.job import values
from wattline_protocol.text.quantities import format_duration, parse_duration_s
from wattline_protocol.text.toml_fields import quantity, texts

KINDS = ("email", "card", "phone")
PATTERN = "re:"
MAX_BLANKS = 16
MAX_PATTERN_CHARS = 200
MIN_RETENTION_S = 3_600.0
MAX_RETENTION_S = 366 * 86_400.0
RETENTION = "30d"

_TABLE = '{ share = 0.01, blank = ["email", "card", "phone"], retention = "30d" }'

_NOT_LINEAR = re.compile(r"\(\?(?:[=!>(]|<[=!]|P=)|\\[1-9gG]|[*+?}]\+")
"""Look-around, conditions, references to groups, atomic groups, possessive quantifiers: engines
that match in linear time have none of them. An escaped `\\\\1` matches too, which is refused for
simplicity."""


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
    found = quantity(parse_duration_s)(value)
    if not MIN_RETENTION_S <= found <= MAX_RETENTION_S:
        raise ValueError("must be from 1h to 366d")
    return found


def blanks(value: object) -> tuple[str, ...]:
    """What is blanked: kinds of text, and patterns after `re:`."""
    found: Sequence[str] = texts(MAX_BLANKS)(value)
    for entry in found:
        if entry.startswith(PATTERN):
            _check_pattern(entry.removeprefix(PATTERN))
        elif entry not in KINDS:
            raise ValueError(f"{entry!r} is none of {', '.join(KINDS)} or re:PATTERN")
    if len(set(found)) < len(found):
        raise ValueError("each entry may occur once")
    return tuple(found)


def _check_pattern(pattern: str) -> None:
    if not 0 < len(pattern) <= MAX_PATTERN_CHARS:
        raise ValueError(f"a pattern has 1 to {MAX_PATTERN_CHARS} characters")
    found = _NOT_LINEAR.search(pattern)
    if found is not None:
        text = f"{PATTERN}{pattern}: {found.group()!r} cannot be matched in linear time"
        raise ValueError(f"{text}; patterns are those of RE2")
    try:
        compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{PATTERN}{pattern} is no pattern: {error}") from error
    if compiled.fullmatch("") is not None:
        raise ValueError(f"{PATTERN}{pattern} matches the empty text")
