"""Verdicts on versions of data sets: made where their bytes are, recorded in the registry."""

from typing import Annotated, TypeVar

import msgspec

from wattline_protocol.text.visible import visible_line
from wattline_protocol.text.wording import counted, digits, listed
from wattline_protocol.wire.bounds import MAX_WORD_CHARS, Count, Number, Serial, Word

MAX_FINDINGS = 32
MAX_FINDING_CHARS = 2_048
"""Of a verdict: the scheduler has all of them in memory."""
NAMED_IN_FULL = 3
OF_VALUES = ("low", "high")
"""Rules whose finding has a value of the data."""

T = TypeVar("T", str, float | str)


class Finding(msgspec.Struct, frozen=True):
    """A rule that a column, a table or a file breaks: `value` is what it has, beyond `limit`."""

    name: Word[str]
    rule: Word[str]
    value: Number | Word[str]
    limit: Number | Word[str]

    @property
    def text(self) -> str:
        """`psi 0.61 (limit 0.25)`, `type text, was integer`."""
        match self.rule:
            case "readable":
                return f"cannot be read: {self.value}"
            case "table":
                return "table is missing" if self.value == "missing" else "table is new"
            case "type":
                return f"type {self.value}, was {self.limit}"
            case _:
                return f"{self.rule} {_shown(self.value)} (limit {_shown(self.limit)})"


class DataCheck(msgspec.Struct, frozen=True):
    """The verdict of a check of a new version, as it is recorded with it."""

    against: Serial[int]
    """Number of the version that it was compared with; 0: it was the first, of which only what
    cannot be read is found."""
    ok: bool
    findings: Annotated[tuple[Finding, ...], msgspec.Meta(max_length=MAX_FINDINGS)] = ()
    more: Count[int] = 0
    """Further ones."""

    @property
    def chars(self) -> int:
        """Of all findings."""
        return sum(map(_chars, self.findings))

    @property
    def text(self) -> str:
        """`age: psi 0.61 (limit 0.25); city: …`: the first columns in full, others by name."""
        rules: dict[str, list[str]] = {}
        for finding in self.findings:
            rules.setdefault(finding.name, []).append(finding.text)
        names = list(rules)
        parts = [f"{name}: {', '.join(rules[name])}" for name in names[:NAMED_IN_FULL]]
        if others := names[NAMED_IN_FULL:]:
            parts.append(f"also {listed(others, MAX_FINDINGS)}")
        if self.more:
            parts.append(f"and {counted(self.more, 'broken rule')} more")
        return "; ".join(parts)


def recorded(findings: tuple[Finding, ...], against: int) -> DataCheck:
    """The verdict within the bounds of a record, and without values of the data."""
    kept: list[Finding] = []
    left = MAX_FINDING_CHARS
    for one in map(_kept, findings[:MAX_FINDINGS]):
        left -= _chars(one)
        if left < 0:
            break
        kept.append(one)
    return DataCheck(against, not findings, tuple(kept), len(findings) - len(kept))


def _chars(one: Finding) -> int:
    texts = (one.name, one.rule, one.value, one.limit)
    return sum(len(text) for text in texts if isinstance(text, str))


def _kept(one: Finding) -> Finding:
    value = "beyond" if one.rule in OF_VALUES else _short(one.value)
    return Finding(_short(one.name), one.rule, value, _short(one.limit))


def _short(value: T) -> T:
    return visible_line(value)[:MAX_WORD_CHARS] if isinstance(value, str) else value


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else digits(value)
