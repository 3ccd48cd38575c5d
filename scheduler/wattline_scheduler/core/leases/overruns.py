"""Overruns: domains committed above their budget, with time and cause (I1, I4).

Each legal cause calls `note_overruns` after it changed budgets or books. A domain above its budget
without a recorded overrun is a broken invariant.
"""

from wattline_protocol.ids import DomainId, Now
from wattline_protocol.text.wording import power_text
from wattline_scheduler.core.model.problems import begin, end
from wattline_scheduler.core.model.state import Overrun, State


def note_overruns(state: State, cause: str, now: Now, *, is_shed: bool = False) -> None:
    """Records every domain that `cause` put above its budget."""
    for domain, over_mw in _over(state).items():
        known = state.overruns.get(domain)
        if known is None:
            state.overruns[domain] = Overrun(now.mono_s, now.unix_s, cause, is_shed=is_shed)
        elif is_shed:
            known.is_shed = True
        if known is None or is_shed:
            text = f"{domain} is committed {power_text(over_mw)} above its budget: {cause}"
            begin(state, "over_budget", domain, text, now)
    state.wants_rebalance = True


def note_start(state: State, now: Now) -> None:
    """Records the overruns of a new run, whose nodes count in full until they are heard."""
    over = _over(state)
    for domain in state.domains.by_id:
        if domain not in over:
            end(state, "over_budget", domain, now)
    if not over:
        return
    cause = "nodes that have not reported yet count in full"
    for domain in over:
        state.overruns[domain] = Overrun(now.mono_s, now.unix_s, cause, is_start=True)
    text = f"{cause}: {', '.join(over)} above budget until then"
    state.journal.note("nodes_unheard", text, now)


def _over(state: State) -> dict[DomainId, int]:
    headroom_mw = {domain: state.books.headroom_mw(domain) for domain in state.domains.by_id}
    return {domain: -mw for domain, mw in headroom_mw.items() if mw < 0}


def note_recovery(state: State, now: Now) -> None:
    """Closes the overruns of domains that are within their budget again."""
    for domain in [d for d in state.overruns if state.books.headroom_mw(d) >= 0]:
        over = state.overruns.pop(domain)
        state.wants_plan = True
        took_s = now.mono_s - over.since
        text = f"{domain} is within its budget again after {took_s:.3f} s ({over.cause})"
        end(state, "over_budget", domain, now, text)
