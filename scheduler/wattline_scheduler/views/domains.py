"""Power domains and cooling zones as people see them."""

from datetime import UTC, datetime

from wattline_protocol.ids import DomainId, NodeId
from wattline_protocol.views import DomainView
from wattline_scheduler.core.budgets import SHED
from wattline_scheduler.core.records import LimitRecord
from wattline_scheduler.core.state import State
from wattline_scheduler.views.draw import Draw, all_draws, domain_draws

MW = 1000


def domain_views(state: State, draws: dict[NodeId, Draw] | None = None) -> tuple[DomainView, ...]:
    """All domains in site-file order."""
    measured_mw = domain_draws(state, draws or all_draws(state))
    return tuple(_domain_view(state, domain, measured_mw[domain]) for domain in measured_mw)


def _domain_view(state: State, domain: DomainId, measured_mw: int) -> DomainView:
    declared = state.domains.by_id[domain]
    overrun = state.overruns.get(domain)
    shed = state.limits.get((domain, SHED))
    return DomainView(
        id=domain,
        kind=declared.kind,
        parent=declared.parent,
        rating_w=declared.rating_mw / MW,
        budget_w=state.domains.budget_mw(domain) / MW,
        full_budget_w=declared.budget_mw / MW,
        committed_w=state.books.committed_in(domain) / MW,
        reserved_w=state.domains.reserved_mw(domain) / MW,
        measured_w=measured_mw / MW,
        headroom_w=state.books.headroom_mw(domain) / MW,
        over_since_unix_s=None if overrun is None else overrun.since_unix_s,
        shed="" if shed is None else shed_text(shed, declared.budget_mw),
    )


def shed_text(shed: LimitRecord, full_mw: int) -> str:
    """A shed in words: how much, by whom, until when and why."""
    until = "until restored"
    if shed.end_unix_s is not None:
        until = f"until {datetime.fromtimestamp(shed.end_unix_s, UTC):%H:%M:%S} UTC"
    why = f": {shed.why}" if shed.why else ""
    return f"{1 - shed.value_mw / full_mw:.0%} by {shed.who or 'unknown'} {until}{why}"
