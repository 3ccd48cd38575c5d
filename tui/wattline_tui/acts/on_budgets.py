"""Proposals about budgets: sheds, restores, grid events. Each names the budget before and after."""

from collections.abc import Sequence
from difflib import get_close_matches

from wattline_protocol.ids import DomainId
from wattline_protocol.text.moments import when
from wattline_protocol.text.quantities import format_duration
from wattline_protocol.text.wording import listed
from wattline_protocol.views.site_views import DomainView, LimitView
from wattline_protocol.wire.client_messages import CancelGridEvent, GridEvent, Restore, Shed
from wattline_tui.acts.proposal import Proposal
from wattline_tui.model import View
from wattline_tui.units import watts


def shed(view: View, request: Shed) -> Proposal:
    """The budget before and after, the ramp and the duration; it replaces an earlier shed."""
    domain = domain_of(view, request.domain)
    if domain is None:
        return Proposal("Lower the budget?", (request,))
    given_w = domain.full_budget_w * (1 - request.fraction) - request.by_mw / 1000
    earlier = [one for one in domain.limits if one.source == "operator"]
    to_w = min(given_w, budget_without(domain, earlier))
    over = f" over {format_duration(request.ramp_s)}" if request.ramp_s else " at once"
    until = f"for {format_duration(request.for_s)}" if request.for_s else "until it is restored"
    draw = _draw(domain) if to_w < domain.budget_w else f"It draws {watts(domain.measured_w)} now."
    return Proposal(
        f"{_set(domain, to_w)}{over}, {until}?\n{_replaced(earlier)}{draw}",
        (request,),
    )


def _set(domain: DomainView, to_w: float) -> str:
    if to_w == domain.budget_w:
        return f"Leave the budget of {domain.id} at {watts(to_w)}"
    verb = "Raise" if to_w > domain.budget_w else "Lower"
    return f"{verb} the budget of {domain.id} from {watts(domain.budget_w)} to {watts(to_w)}"


def _replaced(earlier: Sequence[LimitView]) -> str:
    return "".join(
        f"It replaces the shed to {watts(one.value_w)} by {one.requester}. " for one in earlier
    )


def restore(view: View, domains: Sequence[DomainId] = ()) -> Proposal:
    """Budgets lowered by an operator: of these domains, or all. Raises ValueError if none is."""
    known = view.site.domains if view.site else ()
    lowered = [d for d in known if any(limit.source == "operator" for limit in d.limits)]
    meant = [d for d in lowered if not domains or d.id in domains]
    if not meant:
        of = f" of {listed(domains, 3)}" if domains else ""
        raise ValueError(f"no operator has lowered a budget{of}")
    changes = ", ".join(f"{one.id} {_restored(one)}" for one in meant)
    return Proposal(
        f"Restore the budget of {changes}?\nLimits of schedules, the grid and cooling stay in "
        "force.",
        tuple(Restore(one.id) for one in meant),
    )


def _restored(domain: DomainView) -> str:
    return _change(domain, [one for one in domain.limits if one.source == "operator"])


# --- grid events ------------------------------------------------------------------------------


def grid_event(view: View, request: GridEvent) -> Proposal:
    """The same at a time that the grid announced."""
    domain = domain_of(view, request.domain)
    now_s = view.site.unix_s if view.site else 0.0
    start = when(request.start_unix_s, now_s) if request.start_unix_s else "now"
    until = when(request.end_unix_s, now_s)
    if domain is None:
        return Proposal(f"Announce grid event {request.id}?", (request,))
    to_w = domain.full_budget_w * (1 - request.fraction) - request.by_mw / 1000
    if request.to_mw:
        to_w = request.to_mw / 1000
    return Proposal(
        f"Announce grid event {request.id}: {domain.id} at {watts(to_w)} "
        f"from {start} until {until}?\n{_draw(domain)}",
        (request,),
    )


def event_of(limit: LimitView) -> str:
    """Id of the grid event that it is; empty: it is none."""
    return limit.name.removeprefix("event ") if limit.source == "event" else ""


def open_events(view: View) -> dict[str, tuple[DomainView, LimitView]]:
    """Grid events that can be cancelled, by their ids: planned ones and those in force."""
    domains = view.site.domains if view.site else ()
    return {
        event_of(limit): (domain, limit)
        for domain in domains
        for limit in domain.limits
        if event_of(limit) and limit.phase not in ("rising", "cancelled")
    }


def cancel_grid_event(view: View, event: str = "") -> Proposal:
    """This one, or the only one there is. Raises ValueError."""
    known = open_events(view)
    if not known:
        raise ValueError("no grid event is planned or in force")
    if not event:
        event = next(iter(known))
    if event not in known:
        near = get_close_matches(event, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"there is {listed(list(known), 3)}"
        raise ValueError(f"no grid event {event[:40]} is planned or in force; {hint}")
    return Proposal(
        f"Cancel grid event {event}?\n{_without(*known[event])}\n"
        "Its id cannot be used again before the announced end.",
        (CancelGridEvent(event),),
    )


def _without(domain: DomainView, limit: LimitView) -> str:
    """What the cancellation of an event does to its domain."""
    if limit.now_w is None:
        return f"It has not begun: the budget of {domain.id} stays at {watts(domain.budget_w)}."
    return f"The budget of {domain.id} goes {_change(domain, [limit])}."


# --- domains ----------------------------------------------------------------------------------


def domain_of(view: View, name: DomainId | None) -> DomainView | None:
    """The domain; None: the root of the power tree."""
    domains = view.site.domains if view.site else ()
    if name is None:
        return next((d for d in domains if d.parent is None and d.kind == "power"), None)
    return next((d for d in domains if d.id == name), None)


def budget_without(domain: DomainView, limits: Sequence[LimitView]) -> float:
    """Its budget now in watts, if these limits were not there."""
    others = (one.now_w for one in domain.limits if one not in limits)
    return min([domain.full_budget_w, *(now_w for now_w in others if now_w is not None)])


def _change(domain: DomainView, limits: Sequence[LimitView]) -> str:
    return f"from {watts(domain.budget_w)} to {watts(budget_without(domain, limits))}"


def _draw(domain: DomainView) -> str:
    return f"It draws {watts(domain.measured_w)} now. Jobs of low priority are slowed first."
