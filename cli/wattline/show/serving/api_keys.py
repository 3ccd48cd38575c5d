"""API keys."""

from collections.abc import Sequence
from typing import get_args

from rich.text import Text

from wattline.client.api_keys import NewApiKey
from wattline.lists.list_of import ListOf
from wattline.show import units
from wattline.show.units import joules
from wattline_protocol.lists import kinds
from wattline_protocol.lists.column import Column
from wattline_protocol.lists.table import Table
from wattline_protocol.text.quantities import format_count, format_rate
from wattline_protocol.text.visible import visible
from wattline_protocol.wire.api_keys import ApiKeyView, KeyState, PriorityClass

JOULES_PER_KWH = 3.6e6
CLASSES = get_args(PriorityClass)


def secret(made: NewApiKey) -> str:
    """The key alone, on a line."""
    return made.key


def table(_: float) -> Table[ApiKeyView]:
    """The columns of keys."""
    own = Column[ApiKeyView]
    return Table(
        (
            own("key", kinds.TEXT, lambda one: one.name),
            own("user", kinds.TEXT, lambda one: one.owner, weight=2),
            own("rate", kinds.AMOUNT, lambda one: one.rate_per_s or None, text=_rate),
            own("burst", kinds.NUMBER, lambda one: one.burst or None, weight=3),
            own("budget", kinds.NUMBER, _budget_tokens, "TOKENS/DAY", _budget, weight=2),
            own("priority", kinds.choice(*CLASSES), lambda one: one.priority, weight=3),
            own("tier", kinds.TEXT, lambda one: one.tier, text=_tier, weight=5),
            own("made", kinds.TIME, lambda one: one.made_unix_s, weight=4),
            own("expires", kinds.TIME, lambda r: r.expires_unix_s, text=_expires, weight=1),
            own("services", kinds.TEXTS, lambda one: one.services, grows=True),
        ),
        empty="No API keys.",
    )


KEYS = ListOf[Sequence[ApiKeyView], ApiKeyView](table)


def usage_table(_: float) -> Table[ApiKeyView]:
    """The columns of what gateways have reported of keys."""
    own = Column[ApiKeyView]
    return Table(
        (
            own("key", kinds.TEXT, lambda one: one.name),
            own("requests", kinds.NUMBER, lambda r: r.requests, text=lambda r: f"{r.requests:,}"),
            own("refused", kinds.NUMBER, lambda r: r.refused, text=lambda r: f"{r.refused:,}"),
            own("last-used", kinds.TIME, lambda one: one.used_unix_s, text=_used),
            own("tokens", kinds.NUMBER, lambda r: r.tokens, "", lambda r: f"{r.tokens:,}", 2),
            own("today", kinds.NUMBER, lambda one: one.tokens_today, text=_today),
            own("energy", kinds.ENERGY, _energy_kwh, text=_energy, weight=3),
            own("state", kinds.choice(*get_args(KeyState)), lambda one: one.state, text=_state),
            own("rate", kinds.AMOUNT, lambda one: one.rate_per_s or None, text=_rate, weight=1),
            own("services", kinds.TEXTS, lambda one: one.services, grows=True),
        ),
        empty="No API keys.",
    )


def _abuse(_: Sequence[ApiKeyView], rows: Sequence[ApiKeyView]) -> list[Text]:
    """Why keys are slowed or blocked."""
    return [Text(visible(f"{r.name}: {r.abuse}")) for r in rows if r.abuse]


USAGE = ListOf[Sequence[ApiKeyView], ApiKeyView](usage_table, below=_abuse)


def _budget_tokens(row: ApiKeyView) -> int | None:
    return row.tokens_per_day or None


def _tier(row: ApiKeyView) -> str:
    return row.tier or units.NOT_KNOWN


def _energy_kwh(row: ApiKeyView) -> float | None:
    return None if row.joules is None else row.joules / JOULES_PER_KWH


def _energy(row: ApiKeyView) -> str:
    return joules(row.joules)


def _state(row: ApiKeyView) -> str:
    if row.state == "blocked" and row.blocked_until_unix_s is not None:
        return f"blocked until {units.clock(row.blocked_until_unix_s)}"
    return row.state


def _used(row: ApiKeyView) -> str:
    return "never" if row.used_unix_s is None else units.clock(row.used_unix_s)


def _rate(row: ApiKeyView) -> str:
    return format_rate(row.rate_per_s) if row.rate_per_s else "-"


def _budget(row: ApiKeyView) -> str:
    return format_count(row.tokens_per_day) if row.tokens_per_day else "-"


def _today(row: ApiKeyView) -> str:
    """Tokens of the day, and of its budget where it has one."""
    budget = f" of {_budget(row)}" if row.tokens_per_day else ""
    return f"{row.tokens_today:,}{budget}"


def _expires(row: ApiKeyView) -> str:
    if row.expires_unix_s is None:
        return "never"
    return "expired" if row.is_expired else units.clock(row.expires_unix_s)
