"""Domains committed above their budget: since when and why (I1, I4).

Each legal cause calls `note_overruns` after it changed budgets or books. A domain above its budget
without an overrun on record is a broken invariant.
"""

from wattline_protocol.ids import Now
from wattline_scheduler.core.journal import Level
from wattline_scheduler.core.state import Overrun, State


def note_overruns(
    state: State, cause: str, now: Now, *, is_shed: bool = False, level: Level = "warning"
) -> None:
    """Record every domain that `cause` put above its budget."""
    for domain in state.domains.by_id:
        over_mw = -state.books.headroom_mw(domain)
        known = state.overruns.get(domain)
        if over_mw <= 0:
            continue
        if known is None:
            state.overruns[domain] = Overrun(now.mono_s, now.unix_s, cause, is_shed)
            text = f"{domain} is committed {over_mw / 1000:.0f} W above its budget: {cause}"
            state.journal.note("over_budget", text, now, level=level)
        elif is_shed:
            known.is_shed = True
    state.wants_rebalance = True


def note_recovery(state: State, now: Now) -> None:
    """Close the overruns of domains that are within their budget again."""
    for domain in [d for d in state.overruns if state.books.headroom_mw(d) >= 0]:
        over = state.overruns.pop(domain)
        took_s = now.mono_s - over.since
        text = f"{domain} is within its budget again after {took_s:.3f} s ({over.cause})"
        state.journal.note("budget_met", text, now)
        state.wants_plan = True
