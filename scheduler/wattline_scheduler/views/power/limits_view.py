"""View of the limits that lower a budget."""

from wattline_protocol.ids import DomainId, Now
from wattline_protocol.views.site_views import LimitStage, LimitView
from wattline_scheduler.core.model.state import State
from wattline_scheduler.power.topology.budgets import Limit
from wattline_scheduler.records import LimitRecord

MW = 1000


def limit_views(state: State, now: Now) -> dict[DomainId, tuple[LimitView, ...]]:
    """Active and future limits, by domain; the binding one first, then by start."""
    views: dict[DomainId, list[LimitView]] = {}
    for record in state.limits.values():
        views.setdefault(record.domain, []).append(_view(state, record, now))
    return {domain: tuple(sorted(some, key=_order)) for domain, some in views.items()}


def _order(view: LimitView) -> tuple[bool, float, str]:
    return not view.is_binding, view.start_unix_s, view.name


def _view(state: State, record: LimitRecord, now: Now) -> LimitView:
    limits = state.domains.limits
    limit = limits.get(record.domain, record.name)
    now_mw = None if limit is None else limit.at_mw(now.mono_s, limits.full_mw(record.domain))
    binding = limits.binding(record.domain, now.mono_s)
    return LimitView(
        domain=record.domain,
        name=record.name,
        source=record.source,
        phase=_phase(record, limit, now),
        value_w=(record if limit is None else limit).value_mw / MW,
        now_w=None if now_mw is None else now_mw / MW,
        is_binding=binding is not None and binding is limit,
        start_unix_s=record.start_unix_s,
        ramp_s=record.ramp_s,
        end_unix_s=record.end_unix_s,
        release_s=record.release_s,
        requester=record.requester,
        why=record.why if limit is None else limit.why,
    )


def _phase(record: LimitRecord, limit: Limit | None, now: Now) -> LimitStage:
    match record.phase:
        case "rising" | "cancelled":
            return record.phase
        case "in_force" if limit is not None and now.mono_s >= limit.start:
            return "falling" if now.mono_s < limit.start + limit.ramp_s else "in_force"
        case _:
            return "planned"
