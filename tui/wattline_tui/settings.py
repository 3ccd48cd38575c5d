"""The user's settings: a theme, and other keys for actions, acts and modes."""

import tomllib
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from textual.keys import Keys

from wattline_protocol.lists.column import unknown
from wattline_tui.actions import ACTIONS, Place
from wattline_tui.acts.table import ACTS
from wattline_tui.mode_names import MODE_NAMES
from wattline_tui.themes import DEFAULT, checked_theme

FILE = Path(".config/wattline/top.toml")
"""Below the home directory; it need not exist."""
MAX_BYTES = 64 * 1024
MODIFIERS = ("ctrl+", "shift+", "alt+")
SHARED: tuple[Place, ...] = ("everywhere", "rows", "tree")
"""Their keys act on the screen of every other place, too."""
_NAMED = {key.value for key in Keys} | {"space"}


class SettingsError(Exception):
    """The file is wrong; the text says where, and what would be right."""


@dataclass(frozen=True, slots=True)
class Settings:
    """As in the file."""

    theme: str = DEFAULT
    keys: Mapping[str, str] = field(default_factory=dict)
    """By the ids of actions, acts and modes: keys as Textual names them, with commas between."""


def read_settings(path: Path) -> Settings:
    """The file, or what holds without one. Raises SettingsError."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return Settings()
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    try:
        if len(data) > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES:,} bytes")
        return parse_settings(data.decode())
    except ValueError as error:
        raise SettingsError(f"{path}: {error}") from error


def parse_settings(text: str) -> Settings:
    """`theme = "light"` and a table `[keys]`. Raises ValueError."""
    given = tomllib.loads(text)
    for name in given:
        if name not in ("theme", "keys"):
            raise unknown("setting", name, ("theme", "keys"))
    theme, keys = given.get("theme", DEFAULT), given.get("keys", {})
    if not isinstance(theme, str) or not isinstance(keys, dict):
        raise ValueError('expected theme = "light" and a table [keys]')
    return Settings(checked_theme(theme), checked_keys(keys))


def checked_keys(keys: Mapping[str, object]) -> dict[str, str]:
    """Raises ValueError for an unknown id, an invalid key, or a key with two meanings."""
    known = {id_ for _, id_, _ in _bound({})}
    for id_, wanted in keys.items():
        if id_ not in known:
            raise unknown("action", id_, sorted(known))
        if not isinstance(wanted, str) or not all(map(_is_key, wanted.split(","))):
            raise ValueError(f'keys.{id_}: expected a key such as "d", "ctrl+d" or "f2"')
    mapped = {id_: str(wanted) for id_, wanted in keys.items()}
    if clash := first_clash(mapped):
        raise ValueError(clash)
    return mapped


def first_clash(keys: Mapping[str, str]) -> str:
    """The first key with two meanings in one place; empty = there is none."""
    bound = list(_bound(keys))
    for place in get_args(Place):
        ids: dict[str, str] = {}
        for at, id_, key in bound:
            if at in (place, *SHARED) and ids.setdefault(key, id_) != id_:
                return f"{key} has two meanings: {ids[key]} and {id_}"
    return ""


def _bound(keys: Mapping[str, str]) -> Iterator[tuple[Place, str, str]]:
    """Place, id and key of each binding."""
    tables: list[tuple[Place, str, str]] = [
        *((one.place, one.id, one.keys) for one in ACTIONS),
        *(("everywhere", one.id, one.key) for one in MODE_NAMES),
        *(("everywhere", one.id, one.key) for one in ACTS),
    ]
    for place, id_, usual in tables:
        for key in keys.get(id_, usual).split(","):
            yield place, id_, key


def _is_key(key: str) -> bool:
    name = key
    for modifier in MODIFIERS:
        name = name.removeprefix(modifier)
    return key in _NAMED or name in _NAMED or _is_character(name)


def _is_character(name: str) -> bool:
    """One, or the name of one: `/` and `slash`."""
    if len(name) == 1:
        return name.isprintable()
    with suppress(KeyError):
        return bool(unicodedata.lookup(name.replace("_", " ")))
    return False
