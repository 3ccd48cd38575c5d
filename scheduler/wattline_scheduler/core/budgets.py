"""Budgets lowered and restored, by whom, why and until when."""

from wattline_protocol.ids import DomainId, Instant, Now, UnixTime, UserName
from wattline_protocol.requests import Answer, Denied, Done, Restore, Shed
from wattline_scheduler.core.journal import SCHEDULER
from wattline_scheduler.core.overruns import note_overruns, note_recovery
from wattline_scheduler.core.records import ShedRecord
from wattline_scheduler.core.state import ShedNow, State

MAX_SHED_S = 366 * 86_400.0
"""A year and a day: longer is a change of the site file."""


def shed(state: State, user: UserName, request: Shed, now: Now) -> Answer:
    """Lower a budget at once; replaces an earlier shed of the same domain."""
    domain = request.domain or power_root(state)
    full_mw = state.domains.by_id[domain].budget_mw if domain in state.domains.by_id else 0
    problem = _problem(state, domain, request, full_mw)
    if problem is not None:
        return problem
    by_mw = request.by_mw or round(full_mw * request.fraction)
    until = UnixTime(now.unix_s + request.for_s) if request.for_s else None
    record = ShedRecord(
        domain=domain,
        budget_mw=full_mw - by_mw,
        requested_fraction=by_mw / full_mw,
        who=user,
        reason=request.reason,
        since_unix_s=now.unix_s,
        until_unix_s=until,
    )
    state.journal.save(record)
    put_in_force(state, record, now)
    text = f"{domain}: {_in_words(record)}, {(full_mw - by_mw) / 1000:.0f} W remain"
    state.journal.note("budget_shed", text, now, who=user, level="warning")
    note_overruns(state, f"budget of {domain} lowered by {user}", now, is_shed=True)
    note_recovery(state, now)
    if domain not in state.overruns:
        state.journal.note("budget_met", f"{domain} was within its lower budget already", now)
    state.rebalanced_at = None  # not held back by the pace of rebalancing
    state.wants_rebalance = state.wants_plan = True
    return Done(text)


def _problem(state: State, domain: DomainId, request: Shed, full_mw: int) -> Denied | None:
    if domain not in state.domains.by_id:
        known = ", ".join(state.domains.by_id)
        return Denied("not_found", f"there is no domain {domain!r}; the site has {known}")
    if (request.fraction > 0) == (request.by_mw > 0):
        return Denied("bad_request", "give either a share (25%) or watts to shed, more than zero")
    if not 0 <= request.fraction <= 1:
        return Denied("bad_request", f"a share lies between 0 and 1, not {request.fraction}")
    if request.by_mw > full_mw:
        most = f"{domain} has {full_mw / 1000:.0f} W"
        return Denied("bad_request", f"{request.by_mw / 1000:.0f} W cannot be shed: {most}")
    if not 0 <= request.for_s <= MAX_SHED_S:
        return Denied("bad_request", f"{request.for_s} s is no duration between 0 and a year")
    return None


def power_root(state: State) -> DomainId:
    """Root of the power tree, the first one in the site file if there are several."""
    return next(d for d in state.domains.roots() if state.domains.by_id[d].kind == "power")


def put_in_force(state: State, record: ShedRecord, now: Now) -> None:
    """Also at a restart: what is left of the duration runs on the monotonic clock."""
    if record.budget_mw is None or record.domain not in state.domains.by_id:
        return
    state.domains.lower(record.domain, record.budget_mw)
    until = None
    if record.until_unix_s is not None:
        until = Instant(now.mono_s + max(0.0, record.until_unix_s - now.unix_s))
    state.sheds[record.domain] = ShedNow(record, until)


def restore(state: State, user: UserName, request: Restore, now: Now) -> Answer:
    """Put the full budget in force again."""
    domain = request.domain or power_root(state)
    if domain not in state.domains.by_id:
        known = ", ".join(state.domains.by_id)
        return Denied("not_found", f"there is no domain {domain!r}; the site has {known}")
    if domain not in state.sheds:
        lowered = ", ".join(state.sheds) or "none"
        return Denied("conflict", f"the budget of {domain} is not lowered (lowered now: {lowered})")
    text = _restore(state, domain, user, request.reason, now)
    return Done(text)


def end_expired(state: State, now: Now) -> None:
    """Sheds whose time is over."""
    for domain, shed_now in list(state.sheds.items()):
        if shed_now.until is not None and now.mono_s >= shed_now.until:
            _restore(state, domain, SCHEDULER, "its time is over", now)


def _restore(state: State, domain: DomainId, who: str, reason: str, now: Now) -> str:
    del state.sheds[domain]
    state.domains.restore(domain)
    state.journal.save(ShedRecord(domain, None, who=who, reason=reason, since_unix_s=now.unix_s))
    full_w = state.domains.by_id[domain].budget_mw / 1000
    text = f"{domain}: full budget of {full_w:.0f} W restored"
    state.journal.note("budget_restored", text + (f" ({reason})" if reason else ""), now, who=who)
    note_recovery(state, now)
    state.wants_rebalance = state.wants_plan = True
    return text


def _in_words(record: ShedRecord) -> str:
    share = f"{record.requested_fraction:.0%} shed"
    until = "until restored" if record.until_unix_s is None else "for a time"
    why = f" ({record.reason})" if record.reason else ""
    return f"{share} by {record.who} {until}{why}"
