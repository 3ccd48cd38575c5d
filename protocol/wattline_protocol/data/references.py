"""References to versions of data sets: `digits@v3`, `digits@stable`, `digits@latest`, `digits`."""

import re
from typing import NamedTuple

from wattline_protocol.text.names import check_name

LATEST = "latest"
"""The highest version that is neither a candidate nor removed; also of a reference without `@`."""

_NUMBER = re.compile(r"v([0-9]{1,9})")


class Reference(NamedTuple):
    """A data set, and which of its versions."""

    name: str
    number: int = 0
    """0: the one that `alias` names."""
    alias: str = LATEST

    @property
    def text(self) -> str:
        return f"{self.name}@{f'v{self.number}' if self.number else self.alias}"


CHECKPOINTS_OF = "checkpoints of job "
"""Begins the name of a job's checkpoints among what a node holds; no data set is called so."""


def checkpoint_set(job: int) -> str:
    """The checkpoints of a job, among data sets."""
    return f"{CHECKPOINTS_OF}{job}"


def version_text(name: str, number: int) -> str:
    """`digits@v3`; of a stored checkpoint its step and job."""
    if name.startswith(CHECKPOINTS_OF):
        return f"checkpoint {number} of job {name.removeprefix(CHECKPOINTS_OF)}"
    return f"{name}@v{number}"


def parse_reference(text: str) -> Reference:
    """Raises ValueError for what names no version."""
    name, at, version = text.partition("@")
    check_name(name)
    if not at:
        return Reference(name)
    found = _NUMBER.fullmatch(version)
    if found is not None and (number := int(found[1])) > 0:
        return Reference(name, number, "")
    if found is not None or not version or version.isdigit():
        raise ValueError(f'"{name}@{version}": versions are numbered from v1, as in {name}@v1')
    return Reference(name, 0, check_name(version))


def check_alias(text: str) -> str:
    """`text` itself. Raises ValueError where it cannot name a version that is approved."""
    check_name(text)
    if text == LATEST:
        raise ValueError(f'"{text}" is always the newest version: choose another word, as "stable"')
    if _NUMBER.fullmatch(text) is not None or text.isdigit():
        raise ValueError(f'"{text}" is no alias: choose a word such as "stable", not a number')
    return text
