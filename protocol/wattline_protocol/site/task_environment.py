"""Variables of a keeper's environment that its tasks see: the table [tasks] of a site file."""

import re
from typing import Annotated, Any

import msgspec

from wattline_protocol.text.toml_fields import Fields, texts

MAX_PATTERNS = 64
MAX_PATTERN_CHARS = 128
PATTERN = r"[A-Za-z_][A-Za-z0-9_]*\*?"
"""A name, or a prefix followed by a star."""
PRIVATE = "WATTLINE_"
"""Wattline's own variables are never passed: they name bundles and state of their program."""

EnvPattern = Annotated[str, msgspec.Meta(max_length=MAX_PATTERN_CHARS, pattern=rf"^{PATTERN}\Z")]
EnvPatterns = Annotated[tuple[EnvPattern, ...], msgspec.Meta(max_length=MAX_PATTERNS)]

_read_texts = texts(MAX_PATTERNS)


def pass_env(top: Fields) -> tuple[str, ...]:
    """The patterns of the site file, besides the variables that every task sees."""
    fields = top.table("tasks")
    found: tuple[str, ...] = fields.take("pass_env", _patterns, ())
    fields.end()
    return found


def _patterns(value: object) -> tuple[str, ...]:
    return tuple(map(_pattern, _read_texts(value)))


def _pattern(text: str) -> str:
    if len(text) > MAX_PATTERN_CHARS or not re.fullmatch(PATTERN, text):
        raise ValueError(
            f'expected names of variables such as "HTTP_PROXY" or "NCCL_*", not {text!r}'
        )
    if text.startswith(PRIVATE):
        raise ValueError(f"{PRIVATE}* is set by Wattline and never passed on: take {text} out")
    return text


def tasks_keys(patterns: tuple[str, ...]) -> dict[str, Any]:
    """The table, for `pass_env`."""
    return {"pass_env": list(patterns)} if patterns else {}
