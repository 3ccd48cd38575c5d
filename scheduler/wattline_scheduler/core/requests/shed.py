"""Sheds and restores of budgets by operators: amount, duration, reason."""

from wattline_protocol.ids import DomainId, Now, UnixTime, UserName
from wattline_protocol.text.quantities import format_duration
from wattline_protocol.text.wording import power_text
from wattline_protocol.wire.client_messages import Answer, Denied, Done, Restore, Shed
from wattline_scheduler.core.leases import budget_limits
from wattline_scheduler.core.leases.fault_barrier import total
from wattline_scheduler.core.model.not_found import not_there
from wattline_scheduler.core.model.state import State
from wattline_scheduler.records import LimitRecord

MAX_SHED_S = 366 * 86_400.0
"""A year and a day: a longer change belongs in the site file."""

MAX_RAMP_S = 86_400.0

SHED = "shed"
"""Name of the operator's limit: a domain has at most one, and a new shed replaces it."""


def shed(state: State, user: UserName, request: Shed, now: Now) -> Answer:
    """Lowers a budget, at once or on a ramp; replaces an earlier shed of the same domain."""
    domain = request.domain or power_root(state)
    full_mw = state.domains.by_id[domain].budget_mw if domain in state.domains.by_id else 0
    problem = total(state, "shed", user, lambda: _problem(state, domain, request, full_mw), now)
    if problem is not None:
        return problem
    by_mw = request.by_mw or round(full_mw * request.fraction)
    record = LimitRecord(
        domain=domain,
        name=SHED,
        source="operator",
        phase="in_force",
        value_mw=full_mw - by_mw,
        from_mw=None,
        start_unix_s=now.unix_s,
        ramp_s=request.ramp_s,
        end_unix_s=UnixTime(now.unix_s + request.for_s) if request.for_s else None,
        release_s=request.release_s,
        requester=user,
        why=request.reason,
    )
    record = budget_limits.begin(state, record, now)
    text = f"{domain}: {_in_words(request, by_mw / full_mw, user)}"
    text += f", {power_text(full_mw - by_mw)} remain"
    state.journal.act("budget_shed", text, now, actor=user, level="warning")
    budget_limits.note_effects(state, record, f"budget of {domain} lowered by {user}", now)
    return Done(text)


def _problem(state: State, domain: DomainId, request: Shed, full_mw: int) -> Denied | None:
    if domain not in state.domains.by_id:
        return no_domain(state, domain)
    if (request.fraction != 0) == (request.by_mw != 0):
        return Denied("bad_request", "specify either a share (25%) or watts to shed, above zero")
    if not 0 <= request.fraction <= 1:
        return Denied("bad_request", f"the share must be between 0 and 1, not {request.fraction}")
    if not 0 <= request.by_mw <= full_mw:
        most = f"the budget of {domain} is {power_text(full_mw)}"
        return Denied("bad_request", f"cannot shed {power_text(request.by_mw)}: {most}")
    if not 0 <= request.for_s <= MAX_SHED_S:
        return Denied(
            "bad_request",
            _outside("duration", request.for_s, MAX_SHED_S),
        )
    for ramp_s in (request.ramp_s, request.release_s):
        if not 0 <= ramp_s <= MAX_RAMP_S:
            return Denied("bad_request", _outside("ramp", ramp_s, MAX_RAMP_S))
    if request.for_s and request.ramp_s > request.for_s:
        longer = f"the ramp ({format_duration(request.ramp_s)})"
        return Denied(
            "bad_request",
            f"{longer} is longer than the shed ({format_duration(request.for_s)})",
        )
    return None


def no_domain(state: State, domain: DomainId) -> Denied:
    """Denies a request that names an unknown domain."""
    return not_there("domain", domain, state.domains.by_id)


def power_root(state: State) -> DomainId:
    """Root of the power tree; the first one in the site file if there are several."""
    return next(d for d in state.domains.roots() if state.domains.by_id[d].kind == "power")


def _outside(what: str, given_s: float, most_s: float) -> str:
    return f"{what} must be between 0 and {most_s:.0f} s, not {given_s:.10g} s"


def restore(state: State, user: UserName, request: Restore, now: Now) -> Answer:
    """Ends the shed of a domain, at once or on a ramp; other limits stay in force."""
    domain = request.domain or power_root(state)
    if domain not in state.domains.by_id:
        return no_domain(state, domain)
    if not 0 <= request.ramp_s <= MAX_RAMP_S:
        return Denied("bad_request", _outside("ramp", request.ramp_s, MAX_RAMP_S))
    record = state.limits.get((domain, SHED))
    if record is None:
        lowered = ", ".join(d for d, name in state.limits if name == SHED) or "none"
        others = "".join(f"; its {name} is in force" for d, name in state.limits if d == domain)
        return Denied(
            "conflict",
            f"there is no shed of {domain} (sheds: {lowered}){others}",
        )
    budget_limits.release(state, record, request.ramp_s, now)
    if request.ramp_s <= 0:
        return Done(budget_limits.note_restored(state, record, user, request.reason, now))
    text = f"{domain}: the budget rises to the full budget over {format_duration(request.ramp_s)}"
    why = f" ({request.reason})" if request.reason else ""
    state.journal.act("budget_rising", text + why, now, actor=user)
    return Done(text)


def _in_words(request: Shed, share: float, user: UserName) -> str:
    ramp = f" over {format_duration(request.ramp_s)}" if request.ramp_s else ""
    until = f"for {format_duration(request.for_s)}" if request.for_s else "until restored"
    why = f" ({request.reason})" if request.reason else ""
    return f"{share:.0%} shed by {user}{ramp} {until}{why}"
