"""Verdicts on versions of data sets: made where their bytes are, recorded in the registry."""

from typing import Annotated

import msgspec

from wattline_protocol.text.visible import visible_line
from wattline_protocol.text.wording import digits, joined
from wattline_protocol.wire.bounds import MAX_WORD_CHARS, Count, Number, Serial, Word

MAX_FINDINGS = 32
FINDINGS_NAMED = 5


class Finding(msgspec.Struct, frozen=True):
    """A rule that a column, a table or a file breaks: `value` is what it has, beyond `limit`."""

    name: Word[str]
    rule: Word[str]
    value: Number | Word[str]
    limit: Number | Word[str]

    @property
    def text(self) -> str:
        """`age: psi 0.61 (limit 0.25)`."""
        return f"{self.name}: {self.rule} {_shown(self.value)} (limit {_shown(self.limit)})"


class DataCheck(msgspec.Struct, frozen=True):
    """The verdict of a check of a new version, as it is recorded with it."""

    against: Serial[int]
    """Number of the version that it was compared with; 0: it was the first."""
    ok: bool
    findings: Annotated[tuple[Finding, ...], msgspec.Meta(max_length=MAX_FINDINGS)] = ()
    more: Count[int] = 0
    """Further ones."""

    @property
    def text(self) -> str:
        """The first findings, as a text."""
        named = [finding.text for finding in self.findings[:FINDINGS_NAMED]]
        left = len(self.findings) - len(named) + self.more
        return joined([*named, *([f"{left} more"] if left else [])])


def recorded(findings: tuple[Finding, ...], against: int) -> DataCheck:
    """The verdict within the bounds of a record."""
    kept = tuple(
        msgspec.structs.replace(
            one, name=_short(one.name), value=_short(one.value), limit=_short(one.limit)
        )
        for one in findings[:MAX_FINDINGS]
    )
    return DataCheck(against, not findings, kept, len(findings) - len(kept))


def _short(value: float | str) -> float | str:
    return visible_line(value)[:MAX_WORD_CHARS] if isinstance(value, str) else value


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else digits(value)
