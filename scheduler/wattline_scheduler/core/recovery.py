"""Restores the state of a new run from the records; also the empty first start."""

import msgspec

from wattline_protocol.ids import Incarnation, Instant, NodeId, Now
from wattline_protocol.site.model import Site
from wattline_scheduler.core.admission.learned_demand import shape_for
from wattline_scheduler.core.admission.service_name_checks import restore_names
from wattline_scheduler.core.leases.budget_limits import reload_limit
from wattline_scheduler.core.leases.overruns import note_start
from wattline_scheduler.core.leases.scheduled_limits import reconcile
from wattline_scheduler.core.leases.sensor_limits import restore_sensing
from wattline_scheduler.core.lifecycle.checkpoint_times import note_ended, note_failures
from wattline_scheduler.core.lifecycle.dependencies import restore_dependencies
from wattline_scheduler.core.lifecycle.ending import LONGEST_BACKOFF_S, note_drained
from wattline_scheduler.core.lifecycle.fair_share import tick_shares
from wattline_scheduler.core.lifecycle.job_state import refresh
from wattline_scheduler.core.lifecycle.restore_guard import begin_recovery
from wattline_scheduler.core.lifecycle.starting import take
from wattline_scheduler.core.model.calendar import Calendar
from wattline_scheduler.core.model.jobs.job import (
    LIVE,
    Attempt,
    Ended,
    Ending,
    Gang,
    Job,
    Paused,
    Pending,
    Phase,
    Publishing,
    Running,
    Starting,
)
from wattline_scheduler.core.model.jobs.job_index import Workload
from wattline_scheduler.core.model.jobs.service_names import ServiceNames
from wattline_scheduler.core.model.journal import Journal
from wattline_scheduler.core.model.node import NodeNow, incarnation_on_record
from wattline_scheduler.core.model.problems import restore_problems
from wattline_scheduler.core.model.queue.expected_service import Service
from wattline_scheduler.core.model.queue.queue_order import Order
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.model.usage.quota_book import QuotaBook
from wattline_scheduler.core.model.usage.usage import add_usage
from wattline_scheduler.core.model.usage.usage_ledger import Key, Ledger
from wattline_scheduler.core.requests.access import apply_site_file
from wattline_scheduler.core.rollout.gone_gateways import expect_gateways
from wattline_scheduler.core.rollout.rollouts import restore_rollouts
from wattline_scheduler.core.scaling.service_history import restore_service_minutes
from wattline_scheduler.plan.learning.fairshare import FairTree
from wattline_scheduler.plan.search.fleet_view import FleetView
from wattline_scheduler.power.allocation.binding_rows import Binding
from wattline_scheduler.power.allocation.fleet_columns import Fleet
from wattline_scheduler.power.allocation.lease_pacing import Pace
from wattline_scheduler.power.books.books import Books
from wattline_scheduler.power.demand.demand import Demand
from wattline_scheduler.power.topology.domains import Domains
from wattline_scheduler.records import AttemptRecord, GangRecord, JobRecord, NodeRecord, Saved


def restore(site: Site, saved: Saved, now: Now) -> State:
    """Restores the state on record. No node is adopted yet: each must send a Hello first."""
    _check_removed(site, saved)
    domains, calendar = Domains(site), Calendar(site)
    fleet_view = FleetView(site, domains)
    service = Service(site.timing.overtake_s, fleet_view.columns.classes)
    outdated = {node.id: None for node in site.nodes}
    state = State(
        site=site,
        epoch=saved.epoch,
        instance=saved.instance,
        started_at=now.mono_s,
        domains=domains,
        books=Books(site, domains, saved.books),
        fleet=Fleet(domains.matrix),
        pace=Pace(domains.matrix.nodes, saved.epoch),
        binding=Binding(len(domains.matrix.nodes)),
        demand=Demand(site.timing.beat_period_s, saved.demands),
        nodes=_nodes(site, saved, outdated, now),
        work=Workload(
            Order(FairTree(site.fair_share, site.accounts), service),
            QuotaBook(site),
            ServiceNames(site.services),
        ),
        journal=Journal(saved.events, saved.next_event, saved.newest_act),
        members={record.name: record for record in saved.members},
        next_job=saved.next_job,
        calendar=calendar,
        ledger=Ledger(site.fair_share.half_life_s, calendar, saved.uses, lasting(site)),
        fleet_view=fleet_view,
        outdated=outdated,
    )
    restore_problems(state, saved.problems, now)
    for record in saved.limits:
        reload_limit(state, record, now)
    reconcile(state, now)
    state.reservations = {record.name: record for record in saved.reservations}
    for key in saved.api_keys:
        state.api_keys.add(key)
    state.routes.restore(site.routes, saved.routes)
    state.data.restore(saved.data_sets, saved.data_versions)
    state.notifications.restore(saved.notifications)
    restore_sensing(state, saved, now)
    _restore_jobs(state, saved, now)
    restore_rollouts(state, saved)
    expect_gateways(state, now)
    restore_service_minutes(state, saved)
    for node in state.nodes.values():
        note_drained(state, node, now)
    if saved.is_recovering:
        begin_recovery(state, now)
    state.attempt_floor = saved.attempt_floor
    state.work.quotas.begin()
    tick_shares(state, now)
    note_start(state, now)
    state.wants_plan = True
    return state


class SiteMismatch(ValueError):
    """The site file lacks a recorded node that may still draw power."""


def _check_removed(site: Site, saved: Saved) -> None:
    """A node removed from the site file would leave the books, whatever it draws (I3)."""
    named = {node.id for node in site.nodes}
    heard = {record.node for record in saved.nodes if record.incarnation > 0}
    for record in saved.books:
        if record.node not in named and record.node in heard and record.standing != "off":
            raise SiteMismatch(
                f"node {record.node} may draw power and is no longer in the site file; restore "
                f"it, switch it off and run `wattline node off {record.node}` before removing it"
            )


def lasting(site: Site) -> list[Key]:
    """Accounts and queues of the site file: their use is never dropped."""
    accounts: list[Key] = [("account", one.name) for one in site.accounts]
    return accounts + [("queue", one.name) for one in site.queues]


def _nodes(
    site: Site, saved: Saved, outdated: dict[NodeId, None], now: Now
) -> dict[NodeId, NodeNow]:
    on_record = {record.node: record for record in saved.nodes}
    nodes = {}
    for node in site.nodes:
        fresh = NodeRecord(node=node.id, incarnation=Incarnation(0), is_off=node.is_off)
        record = on_record.get(node.id, fresh)
        incarnation = incarnation_on_record(record.incarnation)
        if incarnation != record.incarnation:
            record = msgspec.structs.replace(record, incarnation=incarnation)
        nodes[node.id] = NodeNow(
            site=node,
            record=record,
            # The previous run may have acknowledged a heartbeat until this one began (I7).
            answered_at=now.mono_s,
            gpus={gpu.index: gpu for gpu in record.gpus},
            non_gpu_worst_mw=node.non_gpu_worst_mw,
            outdated=outdated,
        )
    return nodes


def _restore_jobs(state: State, saved: Saved, now: Now) -> None:
    gangs: dict[int, dict[int, GangRecord]] = {}
    for gang in saved.gangs:
        gangs.setdefault(gang.job, {})[gang.gang] = gang
    attempts: dict[int, list[AttemptRecord]] = {}
    for attempt in saved.attempts:
        attempts.setdefault(attempt.job, []).append(attempt)
    for record in sorted(saved.jobs, key=lambda r: (r.ended_unix_s or 0.0, r.id)):
        _restore_job(state, record, gangs.get(record.id, {}), attempts.get(record.id, []), now)
    state.work.jobs = dict(sorted(state.work.jobs.items()))
    for job in state.work.jobs.values():
        for running in job.gangs:
            note_failures(state, running)
        state.fleet_view.recent.note(job.shape, job.gang_count * job.shape.nodes)
    apply_site_file(state, now)
    restore_names(state, now)
    restore_dependencies(state, saved.outcomes, now)


def _restore_job(
    state: State,
    record: JobRecord,
    gangs: dict[int, GangRecord],
    attempts: list[AttemptRecord],
    now: Now,
) -> None:
    job = Job(record, shape_for(state, record.owner, record.spec))
    job.max_grace_s = state.site.timing.max_grace_s
    tried = (attempt.task // record.spec.gang_size for attempt in attempts)
    count = max((job.gang_count - 1, *gangs, *tried)) + 1  # with removed replicas
    for number in range(count):
        saved = gangs.get(number)
        gang = Gang(job, number, Pending(now.mono_s))
        if saved is not None:
            gang.attempt, gang.failures = saved.attempt, saved.failures
            gang.losses, gang.crashes, gang.size = saved.losses, saved.crashes, saved.size
            gang.reason, gang.stored = saved.reason, saved.stored
            gang.lacks_checkpoint = saved.phase == "pending" and saved.cause == "no_data"
            if saved.is_held:
                job.held.add(number)
        job.gangs.append(gang)
    for attempt in sorted(attempts, key=lambda a: (a.attempt, a.task)):
        _restore_attempt(state, job, attempt, now)
    for gang in job.gangs:
        gang.phase = _phase(gangs.get(gang.number), now)
        ran_s = max((a.usage.run_s for a in gang.past), default=0.0)
        is_done = gang.phase == Ended("COMPLETED")
        if gang.past or is_done:
            is_end = is_done or gang.phase == Ended("FAILED")
            state.work.learn(gang, ran_s, is_end=is_end, is_done=is_done)
    job.most_live = sum(gang.phase_name in LIVE for gang in job.gangs)
    job.has_run = any(a.started_unix_s is not None for a in attempts)
    state.work.add(job, now)
    if job.is_ended:
        state.work.ended(job)
    else:
        refresh(state, job, now)


def _restore_attempt(state: State, job: Job, record: AttemptRecord, now: Now) -> None:
    gang = job.gangs[record.task // job.spec.gang_size]
    # Whether StartTask was sent is not recorded: it may have been, so it may be running.
    attempt = Attempt(gang, record, is_ordered=True, is_accepted=True)
    if record.ended_unix_s is not None:
        gang.keep_ended(attempt)
        job.spent = add_usage((job.spent, record.usage))
        note_ended(state, record)
    else:
        take(state, attempt, now)


def _phase(saved: GangRecord | None, now: Now) -> Phase:
    """The recorded phase."""
    if saved is None:
        return Pending(now.mono_s)
    match saved.phase:
        case "pending":
            return _pending(saved, now)
        case "starting":
            return Starting(now.mono_s, is_ordered=True)
        case "running":
            return Running(now.mono_s, ran_s=None)
        case "paused":
            return Paused(now.mono_s)
        case "ending":
            return Ending(now.mono_s, saved.cause or "requeued")
        case "publishing":
            return Publishing(now.mono_s, saved.boot_id)
        case "ended":
            return Ended(saved.outcome or "FAILED")


def _pending(saved: GangRecord, now: Now) -> Pending:
    """The rest of a back-off by the wall clock, within its maximum."""
    wait_s = min(saved.not_before_unix_s - now.unix_s, LONGEST_BACKOFF_S)
    if wait_s <= 0:
        return Pending(now.mono_s)
    return Pending(now.mono_s, Instant(now.mono_s + wait_s), saved.not_before_unix_s)
