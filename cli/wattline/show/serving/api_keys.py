"""API keys."""

from collections.abc import Sequence

from rich.console import Group
from rich.text import Text

from wattline.client.api_keys import NewApiKey
from wattline.show import units
from wattline.show.serving.energy import joules
from wattline.show.tables import Column, Listing
from wattline_protocol.text.quantities import format_count, format_rate
from wattline_protocol.text.visible import visible
from wattline_protocol.wire.api_keys import ApiKeyView


def secret(made: NewApiKey) -> str:
    """The key alone, on a line."""
    return made.key


def listing(rows: Sequence[ApiKeyView]) -> Listing:
    """One line a key, by name."""
    return Listing(
        columns=(
            Column("KEY", [r.name for r in rows]),
            Column("OWNER", [r.owner for r in rows], weight=2),
            Column("RATE", [_rate(r) for r in rows], is_right=True),
            Column("BURST", [str(r.burst or "-") for r in rows], is_right=True, weight=3),
            Column("TOKENS/DAY", [_budget(r) for r in rows], is_right=True, weight=2),
            Column("PRIORITY", [r.priority for r in rows], weight=3),
            Column("TIER", [r.tier or "-" for r in rows], weight=5),
            Column("MADE", [units.clock(r.made_unix_s) for r in rows], weight=4),
            Column("EXPIRES", [_expires(r) for r in rows], weight=1),
            Column("SERVICES", [",".join(r.services) for r in rows], grows=True),
        ),
        empty="No API keys.",
    )


def usage(rows: Sequence[ApiKeyView]) -> Group:
    """One line a key: what gateways have reported; and why keys are slowed or blocked."""
    table = Listing(
        columns=(
            Column("KEY", [r.name for r in rows]),
            Column("REQUESTS", [f"{r.requests:,}" for r in rows], is_right=True),
            Column("REFUSED", [f"{r.refused:,}" for r in rows], is_right=True),
            Column("LAST USED", [_used(r) for r in rows]),
            Column("TOKENS", [f"{r.tokens:,}" for r in rows], is_right=True, weight=2),
            Column("TODAY", [_today(r) for r in rows], is_right=True),
            Column("ENERGY", [joules(r.joules) for r in rows], is_right=True, weight=3),
            Column("STATE", [_state(r) for r in rows]),
            Column("RATE", [_rate(r) for r in rows], is_right=True, weight=1),
            Column("SERVICES", [",".join(r.services) for r in rows], grows=True),
        ),
        empty="No API keys.",
    )
    return Group(table, *(Text(visible(f"{r.name}: {r.abuse}")) for r in rows if r.abuse))


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
