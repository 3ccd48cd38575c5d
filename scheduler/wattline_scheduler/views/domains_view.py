"""View of power domains and cooling zones."""

from wattline_protocol.ids import DomainId, NodeId, Now
from wattline_protocol.views.power_views import BindingView
from wattline_protocol.views.site_views import DomainView, LimitView
from wattline_scheduler.core.leases.measured_draw import Draw, all_draws, domain_draws
from wattline_scheduler.core.model.state import State
from wattline_scheduler.views.power.binding_view import binding_views
from wattline_scheduler.views.power.limits_view import limit_views
from wattline_scheduler.views.power.sensing_view import meter_view, plant_view

MW = 1000


def domain_views(
    state: State, now: Now, draws: dict[NodeId, Draw] | None = None
) -> tuple[DomainView, ...]:
    """All domains, in site-file order."""
    measured_mw = domain_draws(state, draws or all_draws(state))
    limits, binding = limit_views(state, now), binding_views(state)
    return tuple(
        _domain_view(state, domain, mw, limits.get(domain, ()), binding.get(domain), now)
        for domain, mw in measured_mw.items()
    )


def _domain_view(
    state: State,
    domain: DomainId,
    measured_mw: int,
    limits: tuple[LimitView, ...],
    binding: BindingView | None,
    now: Now,
) -> DomainView:
    declared = state.domains.by_id[domain]
    overrun = state.overruns.get(domain)
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
        limits=limits,
        meter=meter_view(state, domain, now),
        plant=plant_view(state, domain, now),
        binding=binding,
    )
