"""Invariants of the state after every event; production code, run after each step of every test.

Each check reports violations with names and numbers. Costs a walk over the whole state.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

from wattline_protocol.ids import GpuIndex, JobId, NodeId, Now, UnixTime, UserName
from wattline_protocol.job.spec import WHOLE_GPU, encoded_bytes
from wattline_protocol.site.wall_power import wall_mw
from wattline_scheduler.core.admission.planner_view import offer_of
from wattline_scheduler.core.admission.reservations import reserved
from wattline_scheduler.core.cluster import Cluster
from wattline_scheduler.core.leases.lease_load import NO_TASK, counts, floor_of, load_of
from wattline_scheduler.core.lifecycle.preemption import described_gang
from wattline_scheduler.core.model.jobs.job import (
    LIVE,
    Attempt,
    Ended,
    Ending,
    Gang,
    Job,
    Pending,
    Starting,
)
from wattline_scheduler.core.model.node import NodeNow, Welcomed
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.rollout.rollouts import limits_of
from wattline_scheduler.plan.model.shape import GangKey
from wattline_scheduler.plan.model.snapshot import NodeOffer, RunningGang
from wattline_scheduler.power.demand.node_load import GpuLoad, classify, least_mw
from wattline_scheduler.power.topology.rows import counted_mw


class InvariantBroken(AssertionError):
    """The state contradicts itself or the design; the text lists the violations."""


def check_invariants(cluster: Cluster, now: Now) -> None:
    """Raises InvariantBroken with every violated invariant."""
    state = cluster.state
    broken = [problem for check in CHECKS for problem in check(state, now)]
    if broken:
        raise InvariantBroken(f"at {now.mono_s:.3f} s: " + "\n".join(broken))


def _budgets(state: State, now: Now) -> Iterator[str]:
    """I1, with I4: above the budget only by a recorded cause."""
    del now
    committed_mw = {node: state.books.committed_mw(node) for node in state.nodes}
    for number, row in enumerate(state.domains.rows):
        summed = sum(counted_mw(committed_mw[node], share) for node, share in row.shares.items())
        kept = state.books.committed_in_row(number)
        if summed != kept:
            yield f"I1: {row.name} adds up to {summed} mW, the books keep {kept} mW"
    for domain in state.domains.by_id:
        if state.books.headroom_mw(domain) < 0 and domain not in state.overruns:
            over = -state.books.headroom_mw(domain)
            yield f"I1: {domain} is {over} mW above its budget and nothing on record explains it"


def _sensing(state: State, now: Now) -> Iterator[str]:
    """I1 for the actual load of a breaker: load that a meter shows beyond the books is reserved."""
    del now
    for domain, meter in state.meters.items():
        kept_mw, held_mw = state.domains.extra_mw(domain), min(meter.held_mw, meter.rating_mw)
        if kept_mw < held_mw:
            yield f"I1: {domain} keeps {kept_mw} mW free, its meter shows {held_mw} mW unbooked"
    for domain, declared in state.domains.by_id.items():
        if state.domains.budget_mw(domain) > declared.budget_mw:
            yield f"I1: the budget of {domain} is above rating x derate"


def _books(state: State, now: Now) -> Iterator[str]:
    """I3, I9: entries agree with the issued leases and with those outstanding."""
    del now
    for node in state.nodes.values():
        entry = state.books.entry(node.id)
        if (entry.standing == "off") != node.record.is_off:
            yield f"I3: {node.id} stands {entry.standing} in the books, off = {node.record.is_off}"
        if node.record.is_quarantined and entry.standing == "leased":
            yield f"I9: {node.id} is quarantined and counts at its lease"
        if isinstance(node.link, Welcomed) and node.outbox:
            yield f"I9: {node.id} gets commands before its caps were read back"
        for sent in entry.sent:
            if sent.epoch == state.epoch and sent.seq > node.last_seq:
                yield f"I8: {node.id} has lease {sent.seq} in the books that was never numbered"


def _off_attempts(state: State, now: Now) -> Iterator[str]:
    """I4: hosts are powered off only in the way that the site file declares."""
    del now
    for name, one in state.off_attempts.under_way.items():
        declared = state.nodes[name].site.out_of_band
        if declared is None or (one.power_off and not declared.can_switch_off):
            yield f"I4: {name} is being switched off, but the site file names no way to do that"


def _loads(state: State, now: Now) -> Iterator[str]:
    """The allocator's load of a node is computed again whenever its work changes."""
    for node in state.nodes.values():
        if node.load is None or state.work.is_moved(node.id):
            continue
        known = node.load
        if (known.base_mw, [_least(gpu) for gpu in known.gpus]) != _least_of(node):
            yield f"{node.id}: the allocator sees {known}, it is {load_of(state, node, now)}"
        gpus_mw, floor_mw = sum(gpu.floor_mw for gpu in known.gpus), floor_of(node)
        known_mw = wall_mw(known.base_mw + gpus_mw, known.psu_efficiency_permille)
        if known_mw != floor_mw:
            yield f"{node.id}: starts wait for {floor_mw} mW, its floor is {known_mw}"


Least = tuple[GpuIndex, int, int]
"""Of the load of a GPU what does not depend on measured draw: index, floor, priority."""


def _least(gpu: GpuLoad) -> Least:
    return gpu.index, gpu.floor_mw, gpu.priority


def _least_of(node: NodeNow) -> tuple[int, list[Least]]:
    """That of `load_of`: it costs a tenth."""
    base_mw, busy = node.non_gpu_worst_mw, list[Least]()
    for gpu in node.gpus.values():
        held = [one for one in node.holders.get(gpu.index, ()) if counts(one)]
        kind = classify(gpu, has_task=bool(held), is_idle=gpu.index in node.idle)
        least, priorities = least_mw(gpu, kind), [one.gang.job.spec.priority for one in held]
        if kind == "idle":
            base_mw += least
        else:
            busy.append((gpu.index, least, max(priorities) if kind == "task" else NO_TASK))
    return base_mw, busy


def _gpus(state: State, now: Now) -> Iterator[str]:
    """No part of a GPU is allocated twice; holders, attempts and counts agree."""
    del now
    for node in state.nodes.values():
        held: dict[GpuIndex, tuple[Attempt, ...]] = {}
        for attempt in node.attempts.values():
            for gpu in attempt.record.gpus:
                held[gpu] = (*held.get(gpu, ()), attempt)
        for gpu, holders in held.items():
            migs = [one.record.mig.uuid for one in holders if one.record.mig is not None]
            if sum(one.gpu_milli for one in holders) > WHOLE_GPU or len(set(migs)) < len(migs):
                refs = " and ".join(str(one.record.ref) for one in holders)
                yield f"GPU {gpu} of {node.id} is given to {refs}"
        if held != node.holders:
            yield f"{node.id}: holders {sorted(node.holders)} differ from {sorted(held)}"
        yield from _node_counts(node)


def _node_counts(node: NodeNow) -> Iterator[str]:
    shapes = [a.gang.job.shape for a in node.attempts.values()]
    cpus, memory = sum(s.cpus for s in shapes), sum(s.memory_bytes for s in shapes)
    if (cpus, memory) != (node.cpus_used, node.memory_used_bytes):
        yield f"{node.id}: uses {node.cpus_used} CPUs and {node.memory_used_bytes} bytes on record"
    if node.names.keys() != {o.command.seq for k, o in node.outbox.items() if k[0] != "lease"}:
        yield f"{node.id}: names of commands differ from those outstanding"


def _attempts(state: State, now: Now) -> Iterator[str]:
    """I7: no task in two live attempts; indexes agree with the records."""
    del now
    tasks: dict[tuple[int, int], str] = {}
    for ref, attempt in state.work.live.items():
        if (ref.job, ref.task) in tasks:
            yield f"I7: task {ref.job}.{ref.task} is live as {tasks[ref.job, ref.task]} and {ref}"
        tasks[ref.job, ref.task] = str(ref)
        if not attempt.is_live or attempt.record.ref != ref:
            yield f"{ref} is listed as live and ended at {attempt.record.ended_unix_s}"
        if state.nodes[attempt.node].attempts.get(ref) is not attempt:
            yield f"{ref} is not listed on its node {attempt.node}"
        if attempt not in attempt.gang.live:
            yield f"{ref} is not listed in its gang; {attempt.gang.job.story()}"
    listed = sum(len(node.attempts) for node in state.nodes.values())
    if listed != len(state.work.live):
        yield f"{listed} attempts on nodes, {len(state.work.live)} live"


def _jobs(state: State, now: Now) -> Iterator[str]:
    """Phases, counts and the queue agree; no gang is half placed."""
    for job in state.work.jobs.values():
        for gang in job.gangs:
            yield from _gang(state, gang, now)
        yield from _job(state, job)
    holding = Counter(
        gang.job.spec.priority
        for job in state.work.jobs.values()
        for gang in job.gangs
        if gang.phase_name in LIVE
    )
    if holding != state.work.live_at:
        yield f"gangs that hold GPUs by priority: {holding}, counted {state.work.live_at}"
    yield from _queue(state)


def _quotas(state: State, now: Now) -> Iterator[str]:
    """The use counted in each quota is that of live tries, and within the quota."""
    del now
    held = [[0, 0] for _ in state.work.quotas.all]
    holders = [Counter[GangKey]() for _ in state.work.quotas.all]
    for attempt in state.work.live.values():
        job = attempt.gang.job
        if attempt.quotas != state.work.quotas.of(job.account, job.spec.queue):
            yield f"{attempt.record.ref} counts in quotas {attempt.quotas}, not in those of its job"
        for number in attempt.quotas:
            held[number][0] += len(attempt.record.gpus) * attempt.gpu_milli
            held[number][1] += attempt.quota_mw
            holders[number][attempt.gang.key] += 1
    for one, (milli, mw), gangs in zip(state.work.quotas.all, held, holders, strict=True):
        if one.holders != gangs:
            yield f"{one.name} is held by {dict(gangs)}, counted are {one.holders}"
        if (one.held_milli, one.held_mw) != (milli, mw):
            yield f"{one.name}: {one.held_milli}, {one.held_mw} mW counted, {milli}, {mw} mW held"
        if one.quota.gpus and milli > max(one.quota.gpus * WHOLE_GPU, one.once_milli):
            yield f"{one.name} holds {milli} thousandths of GPUs, its quota is {one.quota.gpus}"
        if one.quota.power_mw and mw > max(one.quota.power_mw, one.once_mw):
            yield f"{one.name} holds {mw} mW, its quota is {one.quota.power_mw} mW"


def _open_jobs(state: State, now: Now) -> Iterator[str]:
    """Open jobs counted per user and quota are those that have not ended."""
    del now
    users, quotas = Counter[UserName](), Counter[int]()
    for job in state.work.jobs.values():
        count = sum(not isinstance(gang.phase, Ended) for gang in job.gangs)
        users[job.record.owner] += count
        for number in state.work.quotas.of(job.account, job.spec.queue):
            quotas[number] += count
    sizes, gangs = Counter[UserName](), Counter[UserName]()
    for job in state.work.jobs.values():
        if any(not isinstance(gang.phase, Ended) for gang in job.gangs):
            sizes[job.record.owner] += encoded_bytes(job.spec)
            gangs[job.record.owner] += len(job.gangs)
    are_open = {job.id for job in state.work.jobs.values() if not job.is_ended}
    if state.work.open.keys() != are_open:
        yield f"jobs {sorted(are_open)} are open, listed are {sorted(state.work.open)}"
    if sizes != state.work.open_jobs.bytes_of_user:
        yield f"open jobs have {sizes} bytes, counted {state.work.open_jobs.bytes_of_user}"
    if gangs != state.work.open_jobs.gangs_of_user:
        yield f"open jobs have {gangs} gangs, counted {state.work.open_jobs.gangs_of_user}"
    if +users != state.work.open_jobs.of_user:
        yield f"users have {+users} jobs open, counted {state.work.open_jobs.of_user}"
    for number, one in enumerate(state.work.quotas.all):
        if quotas[number] != one.open_jobs:
            yield f"{one.name} has {quotas[number]} jobs open, counted {one.open_jobs}"


def _service_names(state: State, now: Now) -> Iterator[str]:
    """A service name has one owner, or users listed in the site file; displaced jobs aside."""
    del now
    services = state.work.services
    counted = {job.id for jobs in services.open().values() for job in jobs}
    is_open = {
        job.id: job
        for job in state.work.jobs.values()
        if job.spec.kind == "service" and not job.is_ended
    }
    if counted != is_open.keys():
        yield f"services {sorted(is_open)} are open, counted are {sorted(counted)}"
    owners: dict[str, set[UserName]] = {}
    for number, job in is_open.items():
        if number not in services.displaced:
            owners.setdefault(job.spec.name, set()).add(job.record.owner)
    for name, users in owners.items():
        most = services.listed.get(name, ())
        if len(users) > 1 and not users <= set(most):
            yield f"service name {name} belongs to {sorted(users)}, the site file lists {most}"


def _rollouts(state: State, now: Now) -> Iterator[str]:
    """A rollout takes no replica away before another is ready, and its record sets the limits."""
    del now
    limits: dict[JobId, int] = {}
    for name, record in ((name, rollout.record) for name, rollout in state.rollouts.items()):
        least = min(record.old_replicas, record.new_replicas) - record.is_in_place
        if record.new_allowed - 1 + record.old_allowed < least:
            yield f"rollout of {name}: {record.old_allowed} + {record.new_allowed} of {least} run"
        limits |= limits_of(record)
        old = state.work.jobs.get(record.old)
        phases = [] if old is None else [gang.phase for gang in old.gangs]
        is_ending = any(isinstance(p, Ending) and p.cause == "replaced" for p in phases)
        is_over = record.phase == "done" and record.new_allowed == record.new_replicas
        if is_ending and not is_over:
            yield f"job {record.old} is being replaced, its rollout is {record.phase}"
    for job in state.work.jobs.values():
        going = sum(gang.phase_name in ("starting", "running", "paused") for gang in job.gangs)
        limit = limits.get(job.id)
        if job.replica_limit != limit or (limit is not None and going > limit):
            yield f"job {job.id} runs {going} replicas of {job.replica_limit}, not {limit}"


def _queue(state: State) -> Iterator[str]:
    """Each class in order, each job in at most one class, and the planner's whole list in order."""
    queue, listed = state.work.queue, Counter[int]()
    for job_class in queue.classes.values():
        if not job_class.entries or job_class.entries != sorted(set(job_class.entries)):
            yield f"line {job_class.key} is empty, out of order or holds a job twice"
        listed.update(number for _, number in job_class.entries)
        for _, number in job_class.entries:
            if state.work.jobs[number].job_class is not job_class:
                yield f"job {number} stands in a line that it does not know"
    if listed.total() != len(queue) or max(listed.values(), default=1) > 1:
        yield f"the queue counts {len(queue)} jobs, its lines hold {listed}"
    seen = [state.work.jobs[number].spec.priority for number, _ in queue.fronts()]
    if seen != sorted(seen, reverse=True):
        yield "strict priority: the planner sees somebody before one of higher priority"


def _gang(state: State, gang: Gang, now: Now) -> Iterator[str]:
    name = f"gang {gang.number} of job {gang.job.id} ({gang.phase_name})"
    is_live = gang.phase_name in LIVE
    if bool(gang.live) != is_live:
        yield f"{name} has {len(gang.live)} live attempts; {gang.job.story()}"
    if any(a.record.attempt != gang.attempt for a in gang.live):
        yield f"I7: {name} mixes tries; {gang.job.story()}"
    closed = sum(a.record.attempt == gang.attempt for a in gang.past)
    if is_live and len(gang.live) + closed != gang.size:
        yield f"{name} is half placed: {len(gang.live)} live + {closed} ended of {gang.size}"
    resources = gang.job.spec.resources
    if is_live and not resources.least_nodes <= gang.size <= resources.most_nodes:
        yield f"{name} has {gang.size} tasks of {resources.nodes}"
    if isinstance(gang.phase, Starting) and not gang.phase.is_ordered:
        if any(a.is_ordered for a in gang.live) or closed:
            yield f"{name} was ordered in part before its watts were acknowledged"
        yield from _listed(gang.key in state.work.starting, f"{name} not among the starting")
    is_ready = gang.number in gang.job.ready
    if is_ready and not isinstance(gang.phase, Pending):
        yield f"{name} is ready to start though it is not pending"
    if is_ready and gang.is_held:
        yield f"{name} is ready to start though it is held"
    is_due = isinstance(gang.phase, Pending) and gang.phase.not_before < now.mono_s - 60
    if is_due and not is_ready and not gang.is_held:
        yield f"{name} is pending, not backing off, and not ready"


def _listed(is_listed: bool, problem: str) -> Iterator[str]:
    if not is_listed:
        yield problem


def _job(state: State, job: Job) -> Iterator[str]:
    for phase, count in job.count.items():
        actual = sum(gang.phase_name == phase for gang in job.gangs)
        if actual != count:
            yield f"job {job.id} counts {count} gangs {phase}, there are {actual}"
    is_queued = job.job_class is not None
    if is_queued != (job.may_start and state.work.may_start(job) > 0):
        yield f"job {job.id} queued = {is_queued}, ready gangs {len(job.ready)}"
    for parent in job.parents.values():
        if parent.is_ended and parent not in state.work.over:
            yield f"job {job.id} waits for job {parent.id}, which has ended"
    if job.parents and job.has_run:
        yield f"job {job.id} has run though it waits for {sorted(job.parents)}"
    array = job.spec.array
    most = max(array.at_a_time, job.most_live) if array is not None and array.at_a_time else None
    if most is not None and job.live_count > most:
        yield f"job {job.id} has {job.live_count} gangs at a time, {most} allowed"
    is_open = (g.number for g in job.gangs if not isinstance(g.phase, Ended))
    if job.spec.kind == "service" and list(job.open) != list(is_open):
        yield f"job {job.id} lists other replicas as open than it has: {list(job.open)}"
    unlisted = [g.number for g in job.gangs if g.attempts and g.number not in job.tried]
    if unlisted:
        yield f"job {job.id} has attempts of gangs {unlisted}, which are not listed as tried"
    if job.is_ended != (job.record.ended_unix_s is not None):
        yield f"job {job.id} ended = {job.is_ended}, record says {job.record.ended_unix_s}"


def _fleet_view(state: State, now: Now) -> Iterator[str]:
    """The planner's offer of every node is current, except for outdated nodes."""
    for node in state.nodes.values():
        if node.id in state.outdated:
            continue
        known = state.fleet_view.offers[state.fleet_view.position[node.id]]
        actual = offer_of(state, node, now)
        if known != actual and _without_learned(known) != _without_learned(actual):
            yield f"{node.id}: the planner sees {known}, it is {actual}"


def _running(state: State, now: Now) -> Iterator[str]:
    """The planner's description of running gangs is current, except on outdated nodes."""
    del now
    fleet_view = state.fleet_view
    outdated = {
        *fleet_view.running_outdated,
        *(fleet_view.position[n] for n in state.work.redescribe),
    }
    outdated |= {fleet_view.position[node] for node in state.outdated}
    for at, known in enumerate(fleet_view.running):
        for one in known:
            if outdated.isdisjoint(task.at for task in one.tasks) and at not in outdated:
                job, number = one.key
                actual = described_gang(state, state.work.jobs[job].gangs[number])
                if one != actual and (actual is None or _lasting(one) != _lasting(actual)):
                    yield f"{fleet_view.offers[at].node}: the planner sees {one}, it is {actual}"


def _lasting(gang: RunningGang) -> RunningGang:
    """Without watts, which are learned."""
    tasks = tuple(replace(task, counts_mw=()) for task in gang.tasks)
    return replace(gang, tasks=tasks, quota_mw=0)


def _without_learned(offer: NodeOffer) -> NodeOffer:
    """Without values learned from running work, which are updated only from time to time."""
    booking = replace(offer.booking, busy_mw=0, yields=(), held=())
    parts = tuple(replace(part, counts_mw=0) for part in offer.parts)
    return replace(offer, booking=booking, parts=parts, ends=())


def _commands(state: State, now: Now) -> Iterator[str]:
    """I8: every outstanding command is for the current incarnation, in this epoch."""
    del now
    for node in state.nodes.values():
        for key, out in node.outbox.items():
            fence = (out.command.epoch, out.command.incarnation)
            if fence != (state.epoch, node.record.incarnation):
                yield f"I8: {key} to {node.id} is for {fence}"
            if out.command.seq > node.last_seq:
                yield f"I8: {key} to {node.id} has a sequence that was never used"


def _reservations(state: State, now: Now) -> Iterator[str]:
    """A node has one at a time, and the planner's reservations agree with the records."""
    until: dict[NodeId, tuple[UnixTime, str]] = {}
    for record in sorted(state.reservations.values(), key=lambda one: one.start_unix_s):
        for node in record.nodes:
            end_unix_s, other = until.get(node, (record.start_unix_s, ""))
            if record.start_unix_s < end_unix_s:
                yield f"{node} is reserved by {record.name} and {other} at a time"
            until[node] = record.end_unix_s, record.name
    seen = reserved(state, now)
    names = sorted(state.reservations)
    if names != ([] if seen is None else sorted(seen.names)):
        yield f"the planner does not see the {len(names)} reservations on record as they are"


def _problems(state: State, now: Now) -> Iterator[str]:
    """Each open problem is in every index, under its own name; index entries are open problems."""
    del now
    problems = state.problems
    of_nodes = {key for keys in problems.of_node.values() for key in keys}
    for key, problem in problems.open.items():
        if problem.key != key or problem.record.until_unix_s is not None:
            yield f"problem {key} is on record as {problem.record}"
        if (problem.record.node is not None) != (key in of_nodes):
            yield f"problem {key} and the problems of {problem.record.node} disagree"
    if not of_nodes | problems.timed.keys() <= problems.open.keys():
        yield f"problems are waited for that are not open: {of_nodes} {problems.timed.keys()}"


CHECKS: tuple[Callable[[State, Now], Iterator[str]], ...] = (
    _budgets,
    _sensing,
    _books,
    _off_attempts,
    _loads,
    _gpus,
    _fleet_view,
    _running,
    _attempts,
    _jobs,
    _quotas,
    _open_jobs,
    _service_names,
    _rollouts,
    _commands,
    _reservations,
    _problems,
)
