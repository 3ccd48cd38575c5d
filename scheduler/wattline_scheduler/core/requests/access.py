"""Access control of queues and accounts: checked at submission, at update, and once at the start of
a run, since the site file may have changed since a job was accepted.
"""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Literal

import msgspec

from wattline_protocol.ids import Now, UserName
from wattline_protocol.job.http_server import needs_gateway
from wattline_protocol.job.power_goal import goal_problems
from wattline_protocol.job.spec import PRIORITIES, JobSpec
from wattline_protocol.site.model import MOST_URGENT, SUBMITTERS_MAX_PRIORITY, Queue
from wattline_protocol.site.run_as import account_of
from wattline_protocol.text.quantities import format_duration
from wattline_protocol.text.toml_fields import nearest
from wattline_protocol.text.wording import listed
from wattline_protocol.wire.client_messages import Denied
from wattline_scheduler.core.lifecycle.usage_limits import never_reached
from wattline_scheduler.core.model.jobs.job import Job
from wattline_scheduler.core.model.problems import begin, end
from wattline_scheduler.core.model.state import State

DEFAULT_QUEUE = "default"
"""Queue of jobs that specify none; it needs no entry in the site file."""

What = Literal["queue", "account"]
Gate = Literal["queue", "account", "run_as", "cost", "gateway"]
Bar = tuple[Gate, str] | None
"""The gate that bars a job from starting, and the reason; None = not barred."""


def not_allowed(state: State, owner: UserName, spec: JobSpec) -> Denied | None:
    """Denies a queue or account that the user may not use, or a user without host account."""
    refusal = _no_host_account(state, owner)
    if refusal:
        return Denied("not_allowed", f"{refusal}; ask an operator to add one")
    bound = _bound(state, owner)
    if bound:
        return Denied("not_allowed", bound)
    unknown = _unknown(state, owner, spec)
    if unknown == "account" and not spec.account:
        text = "jobs must name an account (--account)"
        return Denied("bad_request", f"{text}; {_there('', _known(state, unknown))}")
    if unknown:
        name = spec.queue if unknown == "queue" else spec.account
        return Denied("bad_request", _no_such(unknown, name, _known(state, unknown)))
    others = _for_others(state, owner, spec)
    if others is not None:
        return Denied("not_allowed", f"{others[1]}; you are {owner}")
    return None


def barred(state: State, owner: UserName, spec: JobSpec) -> Bar:
    """Returns the gate that bars an accepted job from starting, and the reason; None = not barred.

    A job is barred if its queue or account no longer exists or is closed to its user, if its user
    maps to no host account, if its cost limit has no tariff, or if no gateway that its workers
    connect to is enrolled.
    """
    unknown = _unknown(state, owner, spec)
    if unknown:
        name = spec.queue if unknown == "queue" else spec.account or owner
        return unknown, f"the site file no longer has {unknown} {name}; {_hint(unknown)}"
    refusal = _no_host_account(state, owner)
    if refusal:
        return "run_as", f"{refusal}; it starts once the site file maps it"
    others = _for_others(state, owner, spec)
    if others is not None:
        what, text = others
        return what, f"{text}, not for {owner}; {_hint(what)}"
    uncounted = never_reached(spec, state.site.tariff)
    if uncounted:
        way_out = "restore it, or remove the limit with `wattline update --cost none`"
        return "cost", f"{uncounted}; {way_out}"
    lacking = _no_gateway(state) if needs_gateway(spec) else ""
    return ("gateway", lacking) if lacking else None


def _no_gateway(state: State) -> str:
    """Why a worker would have none to connect to; empty = it has, or no member was seen yet."""
    names = [gateway.name for gateway in state.site.gateways]
    known = [state.members[name] for name in names if name in state.members]
    if not state.members or any(one.role == "gateway" for one in known):
        return ""
    if not names:
        return "the site file has no [[gateway]] for its workers"
    enroll = f"`wattline enroll {names[0]} --role gateway`"
    return f"no gateway is enrolled for its workers; it starts after {enroll}"


def _no_host_account(state: State, owner: UserName) -> str:
    """Returns the reason if the user maps to no host account; empty = it maps to one."""
    if account_of(state.site.run_as, owner) is not None:
        return ""
    return f"the site file maps {owner} to no host account ([run_as])"


def _bound(state: State, owner: UserName) -> str:
    """Reason if no keeper heard so far can start tasks as the user's account; empty = one may."""
    rules = state.site.run_as
    account = account_of(rules, owner)
    if not account:
        return ""
    own = ""
    for node in state.nodes.values():
        if not node.keeper_account or node.starts_as(rules, account):
            return ""
        own = node.keeper_account
    if not own:  # the site has no node
        return ""
    return (
        f"tasks of {owner} run as {account}, but the keepers are not root and start tasks only as "
        f"{own}; run them as root, or map {owner} to {own} in [run_as] users"
    )


def too_urgent(state: State, owner: UserName, spec: JobSpec, *, is_operator: bool) -> Denied | None:
    """Denies a priority above the maximum of the queue or the account; None = allowed. Operators
    are unlimited where neither sets a maximum."""
    above = state.work.quotas.accounts_above(spec.account or owner)
    accounts = [account for account in state.site.accounts if account.name in above]
    limits = [(a.max_priority, f"of account {a.name}") for a in accounts]
    queue = _queue(state, spec)
    if queue is not None:
        limits.append((queue.max_priority, f"of queue {queue.name}"))
    given = [(most, name) for most, name in limits if most is not None]
    usual = MOST_URGENT if is_operator else SUBMITTERS_MAX_PRIORITY
    most, name = min(given, default=(usual, "for submitters"))
    if spec.priority <= most:
        return None
    exceeds = f"priority {spec.priority} exceeds the maximum {name} ({_priority_text(most)})"
    return Denied(
        "not_allowed", f"{exceeds}; an operator can raise it (wattline update --priority)"
    )


def _priority_text(priority: int) -> str:
    """Formats a priority with its name: `75, high`; `60` if it has none."""
    return ", ".join([str(priority), *(n for n, value in PRIORITIES.items() if value == priority)])


def too_long(state: State, spec: JobSpec) -> Denied | None:
    """Denies a run time limit above the maximum of the queue; None = allowed."""
    queue = _queue(state, spec)
    if queue is None or not queue.max_runtime_s:
        return None
    most = f"the maximum run time in queue {queue.name} is {format_duration(queue.max_runtime_s)}"
    if spec.kind == "service":
        return Denied("not_allowed", f"{most}; a service runs until it is cancelled")
    if 0 < spec.limits.runtime_s <= queue.max_runtime_s:
        return None
    wants = format_duration(spec.limits.runtime_s) if spec.limits.runtime_s else "no limit"
    text = f"{most}, this job has {wants} (--time); an operator can extend it"
    return Denied("not_allowed", text)


def with_defaults(state: State, spec: JobSpec) -> JobSpec:
    """Gives a job what it does not specify and its queue does."""
    return with_goal(state, with_runtime(state, spec))


def with_runtime(state: State, spec: JobSpec) -> JobSpec:
    """Sets the run time limit of a job without one to the maximum of its queue."""
    queue = _queue(state, spec)
    if queue is None or spec.limits.runtime_s or spec.kind == "service":
        return spec
    limits = msgspec.structs.replace(spec.limits, runtime_s=queue.max_runtime_s)
    return msgspec.structs.replace(spec, limits=limits)


def with_goal(state: State, spec: JobSpec) -> JobSpec:
    """Sets the goal of a job without one to that of its queue, if the job may have it."""
    queue = _queue(state, spec)
    if queue is None or not queue.goal or spec.power.goal:
        return spec
    power = msgspec.structs.replace(spec.power, goal=queue.goal)
    wanted = msgspec.structs.replace(spec, power=power)
    return spec if any(is_wrong for _, is_wrong, _ in goal_problems(wanted)) else wanted


def _queue(state: State, spec: JobSpec) -> Queue | None:
    return next((queue for queue in state.site.queues if queue.name == spec.queue), None)


def apply_site_file(state: State, now: Now) -> None:
    """Sets the bar of every job by the current site file, at the start of a run."""
    for job, bar in _bars(state, state.work.jobs.values()):
        job.barred = bar
        if bar is not None:
            state.work.requeue(job)
    _report_uncounted(state, now)


def apply_members(state: State) -> None:
    """Reevaluates the bar of open services after a change of members."""
    for job, bar in _bars(state, chain.from_iterable(state.work.services.open().values())):
        if bar != job.barred:
            job.barred = bar
            state.work.requeue(job)
            state.wants_plan = True


def _bars(state: State, jobs: Iterable[Job]) -> Iterator[tuple[Job, Bar]]:
    """Each job with its bar, evaluated once for those alike: a user may have 50,000."""
    known: dict[tuple[object, ...], Bar] = {}
    for job in jobs:
        owner, spec = job.record.owner, job.spec
        has_cost, is_worker = bool(spec.limits.cost_usd), needs_gateway(spec)
        alike = owner, spec.account, spec.queue, has_cost, is_worker
        if alike not in known:
            known[alike] = barred(state, owner, spec)
        yield job, known[alike]


def _report_uncounted(state: State, now: Now) -> None:
    """Raises or clears the problem that cost limits are not enforced for lack of a tariff."""
    jobs = [job for job in state.work.jobs.values() if job.barred and job.barred[0] == "cost"]
    names = [str(job.id) for job in jobs if not job.is_ended]
    if not names:
        end(state, "cost_not_limited", "site", now)
        return
    shown = listed(names)
    text = f"the site file has no [tariff]: limits.cost is not enforced for jobs {shown}"
    rest = "running tasks continue, no further ones start"
    begin(state, "cost_not_limited", "site", f"{text}; {rest}", now)


def no_account(state: State, name: str) -> str:
    """Returns the reason if no such account exists; empty = it exists, or none is listed."""
    accounts = _known(state, "account")
    return _no_such("account", name, accounts) if accounts and name not in accounts else ""


def _unknown(state: State, owner: UserName, spec: JobSpec) -> What | Literal[""]:
    """Returns the unknown key, if any. Any name is accepted where the site file lists none."""
    queues, accounts = _known(state, "queue"), _known(state, "account")
    if queues and spec.queue not in (*queues, DEFAULT_QUEUE):
        return "queue"
    pays = spec.account or owner
    is_own = pays == owner and state.site.fair_share.own_accounts
    if accounts and pays not in accounts and not is_own:
        return "account"
    return ""


def _known(state: State, what: What) -> list[str]:
    there = state.site.queues if what == "queue" else state.site.accounts
    return [one.name for one in there]


def _for_others(state: State, owner: UserName, spec: JobSpec) -> tuple[What, str] | None:
    """Returns the first of account, parent accounts and queue that the user may not use, and its
    permitted users; None = all are permitted."""
    above = state.work.quotas.accounts_above(spec.account or owner)
    accounts = {account.name: account.users for account in state.site.accounts}
    asked: list[tuple[What, str, tuple[str, ...]]]
    asked = [("account", name, accounts[name]) for name in above]
    queue = _queue(state, spec)
    if queue is not None:
        asked.append(("queue", queue.name, queue.users))
    for what, name, users in asked:
        if users and owner not in users:
            return what, f"{what} {name} is for {listed(users)}"
    return None


def _no_such(what: What, name: str, known: list[str]) -> str:
    return f"there is no {what} {name}; {_there(name, known)}"


def _there(name: str, known: list[str]) -> str:
    near = nearest(name, known)
    return f"the nearest is {near}" if near else f"there are {listed(known)}"


def _hint(what: What) -> str:
    return f"set another one with `wattline update --{what}`"
