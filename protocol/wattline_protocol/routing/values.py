"""Readers of the values in a route: paths, headers, shares, and values of fields."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from wattline_protocol.job.values import share
from wattline_protocol.routing.model import MAX_CONDITIONS, MAX_VALUES, SHARES
from wattline_protocol.text.toml_fields import Reader, text, texts
from wattline_protocol.wire.bounds import MAX_WORD_CHARS

MAX_DEPTH = 8
"""Steps of a path."""
MAX_NUMBER = 2**53
SECRET_HEADERS = ("authorization", "api-key", "cookie", "proxy-authorization")
"""Headers with secrets: their values belong in no route."""

_HEADER = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,64}")
ROUNDING = 1e-9


def path(value: object) -> str:
    """A path in a JSON document: names and positions with dots between, as in choices.0.text."""
    steps = text(value).split(".")
    if not 1 <= len(steps) <= MAX_DEPTH or not all(steps) or len(str(value)) > MAX_WORD_CHARS:
        raise ValueError(f'expected a path of 1 to {MAX_DEPTH} names, as in "input.language"')
    return ".".join(steps)


def header_name(value: object) -> str:
    """Name of a header, in lower case."""
    name = value.lower() if isinstance(value, str) else ""
    if _HEADER.fullmatch(name) is None:
        raise ValueError('expected the name of a header, as in "x-team"')
    return name


def condition_header(value: object) -> str:
    """Name of a header whose value may be in a route."""
    name = header_name(value)
    if name in SECRET_HEADERS:
        raise ValueError(f"{name} carries a secret; use tiers of API keys")
    return name


def header_values(value: object) -> tuple[str, ...]:
    """Texts as a client may send them."""
    found = texts(MAX_VALUES)(value)
    for one in found:
        is_plain = one.isascii() and one.isprintable() and one == one.strip()
        if not 0 < len(one) <= MAX_WORD_CHARS or not is_plain:
            raise ValueError(f"expected printable ASCII of 1 to {MAX_WORD_CHARS} characters")
    return _each_once(found)


def field_values(value: object) -> tuple[str, ...]:
    """Texts, whole numbers, true and false, each as JSON."""
    items = value if isinstance(value, list | tuple) else [value]
    if not 1 <= len(items) <= MAX_VALUES:
        raise ValueError(f"expected 1 to {MAX_VALUES} values")
    return _each_once(
        tuple(json_key(text(item) if isinstance(item, str) else item) for item in items)
    )


def json_key(value: object) -> str:
    """A value of a field as JSON, in one form. Raises ValueError for one that no rule may name."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool | str) or (isinstance(value, int) and abs(value) <= MAX_NUMBER):
        key = msgspec.json.encode(value).decode()
        if len(key) <= MAX_WORD_CHARS:
            return key
    raise ValueError(
        f"expected texts of up to {MAX_WORD_CHARS - 2} characters, whole numbers, true or false"
    )


def conditions(name: Reader[str], values: Reader[tuple[str, ...]]) -> Reader[dict[str, Any]]:
    """A table of conditions."""

    def read(value: object) -> dict[str, Any]:
        if not isinstance(value, Mapping) or not 1 <= len(value) <= MAX_CONDITIONS:
            raise ValueError(f"expected a table of 1 to {MAX_CONDITIONS} names with their values")
        found = {}
        for key, each in value.items():
            if isinstance(each, Mapping):
                raise ValueError(f'{key}: write the whole path in quotes, as in "{key}.…"')
            where = name(key)
            if where in found:
                raise ValueError(f"{where}: given twice")
            try:
                found[where] = values(each)
            except ValueError as error:
                raise ValueError(f"{key}: {error}") from error
        return found

    return read


def share_permille(value: object) -> int:
    """A share of the requests as thousandths, so that shares add up exactly."""
    exact = share(value) * SHARES
    permille = round(exact)
    if abs(exact - permille) > ROUNDING or not permille:
        raise ValueError(f"expected whole thousandths; the nearest is {max(permille, 1) / SHARES}")
    return permille


def _each_once(found: tuple[str, ...]) -> tuple[str, ...]:
    for at, one in enumerate(found):
        if one in found[:at]:
            raise ValueError(f"{one} is given twice")
    return found
