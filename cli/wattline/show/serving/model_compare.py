"""A comparison of two services as a table."""

from collections.abc import Callable
from typing import NamedTuple

from rich.console import Group, RenderableType
from rich.text import Text

from wattline.acts.serving.comparison import ComparedService, ModelComparison
from wattline.show.tables import Column, Listing
from wattline.show.units import NOT_KNOWN, share
from wattline_protocol.lists.service_figures import NOT_MEASURED
from wattline_protocol.text.wording import about_size, digits, joules

MAX_FAILURE_CHARS = 200


class _Row(NamedTuple):
    name: str
    of: Callable[[ComparedService], float | None]
    text: Callable[[float], str]
    unknown: str = NOT_KNOWN

    def shown(self, one: ComparedService) -> str:
        value = self.of(one)
        return self.unknown if value is None else self.text(value)

    def ratio(self, found: ModelComparison) -> str:
        first, second = self.of(found.a), self.of(found.b)
        return "" if not first or second is None else digits(second / first)


def _ms(value_ms: float) -> str:
    return f"{digits(value_ms)} ms"


def _size(value_bytes: float) -> str:
    return about_size(int(value_bytes))


ROWS = (
    _Row("answered", lambda one: one.answered, "{:,}".format),
    _Row("failed", lambda one: one.failed, "{:,}".format),
    _Row("latency p50", lambda one: one.p50_ms, _ms),
    _Row("latency p95", lambda one: one.p95_ms, _ms),
    _Row("1,000 requests", lambda one: one.joules_per_1000_requests, joules, NOT_MEASURED),
    _Row("1,000 tokens", lambda one: one.joules_per_1000_tokens, joules),
    _Row("GPU memory", lambda one: one.gpu_memory_bytes, _size),
    _Row("host memory", lambda one: one.memory_bytes, _size),
)


def shown(found: ModelComparison) -> RenderableType:
    """One line a figure, then how far both agree."""
    columns = [Column("", [row.name for row in ROWS])]
    columns += [
        Column(one.name, [row.shown(one) for row in ROWS], is_right=True)
        for one in (found.a, found.b)
    ]
    columns.append(Column("B / A", [row.ratio(found) for row in ROWS], is_right=True))
    return Group(Listing(columns=tuple(columns), empty=""), *map(Text, _notes(found)))


def _notes(found: ModelComparison) -> list[str]:
    kind = "" if found.compare == "equal" else f" ({found.compare})"
    parts = f"{found.equal:,} equal, {found.different:,} different"
    if found.uncompared:
        parts += f", {found.uncompared:,} not compared"
    failures = [
        f"{one.name}: {one.first_failure[:MAX_FAILURE_CHARS]}"
        for one in (found.a, found.b)
        if one.first_failure
    ]
    return [f"agreement{kind}: {share(found.agreement)}: {parts}", *failures]
