"""Creates and removes reservations: users and accounts, start and end, nodes."""

import math
from collections.abc import Sequence
from fnmatch import fnmatchcase

import msgspec

from wattline_protocol.ids import NodeId, Now, UnixTime, UserName
from wattline_protocol.text.moments import moment_unix_s
from wattline_protocol.text.names import check_name
from wattline_protocol.text.wording import counted, joined, listed, named
from wattline_protocol.wire.client_messages import Answer, Denied, Done
from wattline_protocol.wire.reservations import Reserve, Unreserve
from wattline_scheduler.core.admission.reservations import add, by_part, describe, end
from wattline_scheduler.core.leases.fault_barrier import total
from wattline_scheduler.core.model.events import ClientRequest
from wattline_scheduler.core.model.jobs.job import Gang
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.not_found import not_there
from wattline_scheduler.core.model.queue.remaining_time import left_of
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests.access import no_account
from wattline_scheduler.core.requests.shed import MAX_SHED_S
from wattline_scheduler.plan.model.task_request import is_called
from wattline_scheduler.records import ReservationRecord

MAX_RESERVATIONS = 1_000
"""Maximum number of open reservations. Planner columns are rebuilt when one begins or ends."""

MAX_WORDS, MAX_WORD_CHARS = 1_000, 128
"""Maximum number of words in the lists of a request, and length of one word."""

MAX_REASON_CHARS = 500

MAX_PAST_S = 60.0
"""A start at most this far in the past means now: typing takes time."""

"""Maximum number of nodes named in one refusal."""


def reserve(state: State, event: ClientRequest, request: Reserve, now: Now) -> Answer:
    """Reserves nodes; begins and ends automatically, at once if the start has passed."""
    user = event.user
    denied = total(
        state,
        "reserve",
        user,
        lambda: _malformed(request) or _taken(state, request) or _grantees(state, event, request),
        now,
    )
    if denied is not None:
        return denied
    try:
        start, end_ = _times(state, request, now)
    except ValueError as error:
        return Denied("bad_request", str(error))
    nodes = total(state, "reserve", user, lambda: _nodes(state, request, start, end_, now), now)
    if isinstance(nodes, Denied):
        return nodes
    record = ReservationRecord(
        name=request.name,
        phase="planned",
        start_unix_s=start,
        end_unix_s=end_,
        nodes=nodes,
        accounts=request.accounts,
        users=request.users,
        requester=user,
        why=request.reason,
    )
    add(state, record, now)
    text = f"{record.name}: {describe(state, record)}"
    why = f" ({record.why})" if record.why else ""
    state.journal.act("reservation_made", f"reservation {text}{why}", now, actor=user)
    return Done(text + _remaining_jobs(state, record, now))


def _malformed(request: Reserve) -> Denied | None:
    try:
        check_name(request.name)
    except ValueError as error:
        return Denied("bad_request", f"the name of the reservation: {error}")
    lists = (request.nodes, request.gpu_type, request.accounts, request.users)
    words = [word for each in (*lists, tuple(request.labels)) for word in each]
    if len(words) > MAX_WORDS or any(not 0 < len(word) <= MAX_WORD_CHARS for word in words):
        text = f"at most {MAX_WORDS} words in all, each of 1 to {MAX_WORD_CHARS} characters"
        return Denied("bad_request", text)
    if len(request.reason) > MAX_REASON_CHARS:
        return Denied("bad_request", f"a reason has at most {MAX_REASON_CHARS} characters")
    if min(request.count, request.gpus) < 0 or (request.count and request.gpus):
        return Denied("bad_request", "give either a number of nodes (--count) or of GPUs (--gpus)")
    if not any((request.nodes, request.labels, request.gpu_type, request.count, request.gpus)):
        text = "specify the nodes: --nodes 'a*', --label, --gpu-type, --count or --gpus"
        return Denied("bad_request", text)
    return None


def _taken(state: State, request: Reserve) -> Denied | None:
    known = state.reservations.get(request.name)
    if known is not None:
        text = f"reservation {known.name} already exists: {describe(state, known)}"
        return Denied("conflict", f"{text}; `wattline unreserve {known.name}` cancels it")
    if len(state.reservations) >= MAX_RESERVATIONS:
        text = f"the site has {MAX_RESERVATIONS} reservations already; cancel some"
        return Denied("busy", text)
    return None


def _grantees(state: State, event: ClientRequest, request: Reserve) -> Denied | None:
    if bool(request.accounts or request.users) == request.is_maintenance:
        text = "specify accounts or users (--account, --user), or --maintenance"
        return Denied("bad_request", text)
    problem = next((why for name in request.accounts if (why := no_account(state, name))), "")
    if problem:
        return Denied("bad_request", problem)
    return next(filter(None, (_no_user(state, event, name) for name in request.users)), None)


def _no_user(state: State, event: ClientRequest, name: str) -> Denied | None:
    """Denies an unknown user; None = the user may submit, or still has open jobs here."""
    if event.users is None or name in event.users:
        return None
    if any(job.record.owner == name and not job.is_ended for job in state.work.jobs.values()):
        return None
    denied = not_there("user", name, event.users)
    advice = "enroll new users first: `wattline enroll NAME --role submitter`"
    return msgspec.structs.replace(denied, reason=f"{denied.reason}; {advice}")


def _times(state: State, request: Reserve, now: Now) -> tuple[UnixTime, UnixTime]:
    """Start and end of the reservation. Raises ValueError."""
    zone = state.calendar.zone
    if bool(request.end) == (request.for_s > 0):
        raise ValueError("specify the end: either --until 20:00 or --for 2h")
    start = moment_unix_s(request.start, now.unix_s, zone) if request.start else now.unix_s
    if now.unix_s - MAX_PAST_S <= start < now.unix_s:
        start = now.unix_s
    after = moment_unix_s(request.end, start, zone) if request.end else start + request.for_s
    if not now.unix_s <= start <= now.unix_s + MAX_SHED_S:
        raise ValueError("a reservation must begin now (without --from) or within a year")
    if not start < after <= start + MAX_SHED_S:
        raise ValueError("a reservation must end after its begin, within a year of it")
    return UnixTime(start), UnixTime(after)


# --- node selection -----------------------------------------------------------------------


def _nodes(
    state: State, request: Reserve, start: float, end_: float, now: Now
) -> tuple[NodeId, ...] | Denied:
    for pattern in request.nodes:
        if not any(fnmatchcase(name, pattern) for name in state.nodes):
            return not_there("node", pattern, state.nodes)
    fitting = [node for node in state.nodes.values() if _fits(node, request)]
    others = _reserved_then(state, start, end_)
    if not fitting:
        return Denied("impossible", f"no node has {_wanted(request)}")
    if not request.count and not request.gpus:
        taken = [node.id for node in fitting if node.id in others]
        return _overlap(state, others, taken) if taken else tuple(node.id for node in fitting)
    free = [node for node in fitting if node.id not in others]
    return _soonest(state, request, free, len(fitting), start - now.unix_s, now)


def _fits(node: NodeNow, request: Reserve) -> bool:
    is_named = not request.nodes or any(fnmatchcase(node.id, one) for one in request.nodes)
    has_labels = request.labels.items() <= node.site.labels.items()
    return is_named and has_labels and (not request.gpu_type or _gpus(node, request) > 0)


def _gpus(node: NodeNow, request: Reserve) -> int:
    """Number of its managed GPUs of the requested models; of all models if none is requested."""
    words = tuple(word.lower() for word in request.gpu_type)
    managed = [gpu for gpu in node.gpus.values() if gpu.managed]
    return sum(not words or is_called(gpu, words) for gpu in managed)


def _wanted(request: Reserve) -> str:
    named_ = f"a name matching {joined(request.nodes, 'or')}" if request.nodes else ""
    labels = ", ".join(f"{name}={value}" for name, value in request.labels.items())
    gpus = f"{' or '.join(request.gpu_type)} GPUs" if request.gpu_type else ""
    return " and ".join(filter(None, (named_, labels, gpus))) or "GPUs"


def _reserved_then(state: State, start: float, end_: float) -> dict[NodeId, ReservationRecord]:
    """Nodes reserved at any time within the interval, each with its reservation."""
    return {
        node: record
        for record in state.reservations.values()
        if record.start_unix_s < end_ and start < record.end_unix_s
        for node in record.nodes
    }


def _overlap(
    state: State, others: dict[NodeId, ReservationRecord], taken: Sequence[NodeId]
) -> Denied:
    calendar, one = state.calendar, others[taken[0]]
    times = f"from {calendar.text(one.start_unix_s)} until {calendar.text(one.end_unix_s)}"
    text = f"overlaps reservation {one.name} {times} on {listed(taken)}"
    return Denied("conflict", text)


def _soonest(
    state: State,
    request: Reserve,
    free: Sequence[NodeNow],
    fitting: int,
    begins_in_s: float,
    now: Now,
) -> tuple[NodeId, ...] | Denied:
    """Selects as many nodes as requested: nodes that are up first, then those free earliest."""

    def order(node: NodeNow) -> tuple[bool, float]:
        return node.state != "ok", max(begins_in_s, _free_within_s(state, node, now))

    chosen: list[NodeNow] = []
    for node in sorted(free, key=order):
        if _enough(request, chosen):
            break
        if request.count or _gpus(node, request):
            chosen.append(node)
    if not _enough(request, chosen):
        has = sum(_gpus(node, request) for node in chosen)
        wanted = counted(request.count, "node") if request.count else counted(request.gpus, "GPU")
        left = f"{len(free)}" if request.count else counted(has, "GPU")
        nodes = counted(fitting, "matching node")
        text = f"requests {wanted}; only {left} of {nodes} not reserved then"
        return Denied("conflict", text)
    names = {node.id for node in chosen}
    return tuple(name for name in state.nodes if name in names)


def _enough(request: Reserve, chosen: Sequence[NodeNow]) -> bool:
    if request.count:
        return len(chosen) == request.count
    return sum(_gpus(node, request) for node in chosen) >= request.gpus


def _free_within_s(state: State, node: NodeNow, now: Now) -> float:
    """Time until all running work there has ended, as far as known; infinite = unknown."""
    gangs = {attempt.gang.key: attempt.gang for attempt in node.attempts.values()}
    return max((_ends_within_s(state, gang, now) for gang in gangs.values()), default=0.0)


def _ends_within_s(state: State, gang: Gang, now: Now) -> float:
    left = left_of(state.work.runtime_bounds, gang, now)
    return math.inf if left is None else left.s


def _remaining_jobs(state: State, record: ReservationRecord, now: Now) -> str:
    """Describes jobs that may still run on the nodes when the reservation begins."""
    left_s = record.start_unix_s - now.unix_s
    nodes = [state.nodes[name] for name in record.nodes]
    late = {
        attempt.gang.job.id
        for node in nodes
        for attempt in node.attempts.values()
        if _ends_within_s(state, attempt.gang, now) > left_s
    }
    if not late:
        return ""
    jobs, verb = named("job", sorted(late)), "runs" if len(late) == 1 else "run"
    if left_s <= 0:
        return f"; {jobs} still {verb} there"
    return f"; {jobs} {verb} there and may not end before it begins"


def unreserve(state: State, user: UserName, request: Unreserve, now: Now) -> Answer:
    """Removes a reservation; its nodes are available to all jobs at once."""
    record = state.reservations.get(request.name)
    if record is None:
        return not_there("reservation", request.name, state.reservations)
    inside = by_part(state, record)[0]
    why = f" ({request.reason[:MAX_REASON_CHARS]})" if request.reason else ""
    end(state, record, f"{record.name} was cancelled{why}", user, now)
    still = (
        f"; {named('job', inside)} in it continue{'' if len(inside) > 1 else 's'}" if inside else ""
    )
    return Done(f"{record.name} was cancelled{still}")
