"""The scheduler's core: its complete state, and the only entry point that changes it.

`handle` takes one event and returns the resulting effects, in order. It does no I/O and uses
neither clock nor randomness, so a run can be replayed from its events. The modules of this package
implement it, each a set of functions over `State`.
"""

from collections.abc import Mapping
from typing import assert_never

from wattline_protocol.data.secrets import SecretNames
from wattline_protocol.ids import Now
from wattline_protocol.site.model import Site
from wattline_protocol.wire.agent_messages import (
    Adopted,
    Beat,
    Carried,
    CommandDone,
    Farewell,
    FromAgent,
    Hello,
    LeaseAck,
    LeaseRefused,
    TaskUpdate,
)
from wattline_protocol.wire.agents.data_messages import DataReport
from wattline_scheduler.core.admission import disk_reserve
from wattline_scheduler.core.admission.learned_demand import save_learned
from wattline_scheduler.core.admission.planner_view import snapshot
from wattline_scheduler.core.admission.reservations import tick_reservations
from wattline_scheduler.core.admission.service_name_checks import tick_names
from wattline_scheduler.core.agents import handshake
from wattline_scheduler.core.agents.command_acks import command_done
from wattline_scheduler.core.agents.data_reports import data_report
from wattline_scheduler.core.agents.heartbeat import beat, watch_silence
from wattline_scheduler.core.agents.secret_names import take_names
from wattline_scheduler.core.agents.task_reports import take_report
from wattline_scheduler.core.emergency.fencing import out_of_band_done, tick_out_of_band
from wattline_scheduler.core.emergency.pause_forecast import tick_pauses_ahead
from wattline_scheduler.core.emergency.pausing import pause_for, pause_where_short
from wattline_scheduler.core.emergency.resuming import resume_where_fits
from wattline_scheduler.core.leases import leases
from wattline_scheduler.core.leases.budget_limits import tick_limits
from wattline_scheduler.core.leases.distrust import ask_for_hello
from wattline_scheduler.core.leases.fault_barrier import fault_seen
from wattline_scheduler.core.leases.overruns import note_recovery
from wattline_scheduler.core.leases.quarantine import tick_contradictions
from wattline_scheduler.core.leases.scheduled_limits import tick_planned
from wattline_scheduler.core.leases.sensor_limits import (
    expect_readings,
    metered,
    tick_sensing,
    zone_sensed,
)
from wattline_scheduler.core.lifecycle.data.data_staging import is_due, tick_data
from wattline_scheduler.core.lifecycle.dependencies import propagate_ends
from wattline_scheduler.core.lifecycle.fair_share import tick_shares
from wattline_scheduler.core.lifecycle.notifications import notification_settled
from wattline_scheduler.core.lifecycle.planning import plan_now
from wattline_scheduler.core.lifecycle.preemption import tick_claims
from wattline_scheduler.core.lifecycle.resizing import grow_gangs
from wattline_scheduler.core.lifecycle.stand_ins import replace_lost
from wattline_scheduler.core.lifecycle.starting import advance_all, expire_starts, start_covered
from wattline_scheduler.core.lifecycle.usage_limits import tick_use
from wattline_scheduler.core.lifecycle.windows import tick_clock
from wattline_scheduler.core.model import node as nodes
from wattline_scheduler.core.model.command_outbox import resend
from wattline_scheduler.core.model.effects import Effect
from wattline_scheduler.core.model.events import (
    ActRefused,
    AgentMessage,
    BodiesRead,
    ClientRequest,
    DiskMeasured,
    DomainMetered,
    Event,
    FaultSeen,
    MembersSeen,
    NotificationSettled,
    OutOfBandDone,
    PlanDue,
    SecretSent,
    ServiceHistoryRead,
    TerminalUsed,
    TimePassed,
    ZoneSensed,
)
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.problems import tick_problems
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.recovery import restore
from wattline_scheduler.core.requests.abuse import tick_blocks
from wattline_scheduler.core.requests.api_key_use import tick_api_keys
from wattline_scheduler.core.requests.audit.carried_acts import (
    bodies_read,
    secret_sent,
    terminal_used,
)
from wattline_scheduler.core.requests.audit.refused_acts import act_refused
from wattline_scheduler.core.requests.data_sets.output_versions import tick_outputs
from wattline_scheduler.core.requests.dispatch import asked
from wattline_scheduler.core.requests.membership import members_seen
from wattline_scheduler.core.rollout.rollouts import tick_rollouts
from wattline_scheduler.core.scaling.down_services import tick_down_services
from wattline_scheduler.core.scaling.measured_loads import measured_loads
from wattline_scheduler.core.scaling.service_history import history_read, tick_error_budgets
from wattline_scheduler.core.scaling.service_scaling import tick_services
from wattline_scheduler.plan.model.snapshot import Snapshot
from wattline_scheduler.records import Saved


class Cluster:
    """A site's scheduler without its sockets and its disk."""

    def __init__(
        self, site: Site, saved: Saved, now: Now, *, gateway_keys: Mapping[str, str] | None = None
    ) -> None:
        self.state: State = restore(site, saved, now)
        self.state.gateway_keys = gateway_keys or {}

    def begin(self, now: Now) -> None:
        """Time since the start counts from `now`: agents and sensors could not be heard before, for
        the state may have been built while the store was still being verified."""
        state = self.state
        state.started_at = now.mono_s
        for node in state.nodes.values():
            node.answered_at = now.mono_s
        for overrun in state.overruns.values():
            overrun.since = now.mono_s
        for gateway in state.traffic.values():
            gateway.heard_at = now.mono_s
        expect_readings(state, now)

    @property
    def wants_plan(self) -> bool:
        """Whether a change may let a waiting job start."""
        return self.state.wants_plan and bool(self.state.work.queue or self.state.promised)

    def snapshot(self, now: Now) -> Snapshot:
        """The planner's current snapshot, for explanations."""
        return snapshot(self.state, now)

    def handle(self, event: Event, now: Now) -> list[Effect]:
        """Changes the state by one event; returns the effects to carry out in order."""
        state = self.state
        match event:
            case AgentMessage(node=node):
                state.journal.hear(node)
                self._agent_message(event, now)
                state.journal.hear(None)
            case ClientRequest():
                asked(state, event, now)
            case TimePassed():
                self._time_passed(now)
            case PlanDue():
                if tick_clock(state, now):
                    plan_now(state, now)
            case DomainMetered():
                metered(state, event, now)
            case ZoneSensed():
                zone_sensed(state, event, now)
            case OutOfBandDone():
                out_of_band_done(state, event, now)
            case FaultSeen():
                fault_seen(state, event, now)
            case DiskMeasured():
                disk_reserve.measured(state, event, now)
            case ActRefused():
                act_refused(state, event, now)
            case BodiesRead():
                bodies_read(state, event, now)
            case SecretSent():
                secret_sent(state, event, now)
            case TerminalUsed():
                terminal_used(state, event, now)
            case MembersSeen():
                members_seen(state, event, now)
            case ServiceHistoryRead():
                history_read(state, event)
            case NotificationSettled():
                notification_settled(state, event, now)
            case _:
                assert_never(event)
        if state.wants_staging and is_due(state, now):
            tick_outputs(state, now)
            tick_data(state, now)
        if state.work.over:
            propagate_ends(state, now)
        if state.wants_rebalance and _may_rebalance(state, now):
            self._rebalance(now)
        state.work.unlink_left()
        return state.journal.take()

    def _agent_message(self, event: AgentMessage, now: Now) -> None:
        state, message = self.state, event.message
        node = state.nodes.get(event.node)
        if node is None:
            return  # the shell refuses keys of unknown nodes; no connection to answer on
        if isinstance(message, Hello):
            handshake.receive_hello(state, node, message, now)
        elif isinstance(message, Carried):
            return  # carried by the shell: neither changes the state
        elif isinstance(message, Adopted):
            if self._is_current(node, message):
                handshake.adopted(state, node, message, now)
            else:
                self._not_current(node, now)
        elif self._is_current(node, message) and node.is_adopted:
            handshake.heard(state, node, now)
            self._take(node, message, now)
        else:
            self._not_current(node, now)

    def _is_current(self, node: NodeNow, message: FromAgent) -> bool:
        """Whether it comes from the incarnation last issued, in this epoch (I8)."""
        return (
            not isinstance(message, Hello | Carried)
            and not isinstance(node.link, nodes.Unheard)
            and message.epoch == self.state.epoch
            and message.incarnation == node.link.incarnation
        )

    def _not_current(self, node: NodeNow, now: Now) -> None:
        """Ignores a message of an earlier incarnation, or of one not adopted yet."""
        if node.record.is_off:
            handshake.end_off(self.state, node, now)
        if not isinstance(node.link, nodes.Welcomed) or now.mono_s - node.link.since > PATIENCE_S:
            ask_for_hello(self.state, node, "this incarnation is not known here", now)

    def _take(self, node: NodeNow, message: FromAgent, now: Now) -> None:
        state = self.state
        match message:
            case Beat():
                beat(state, node, message, now)
            case LeaseAck():
                if leases.acknowledged(state, node, message, now):
                    self._advance(node, now)
            case LeaseRefused():
                leases.refused(state, node, message, now)
            case CommandDone():
                command_done(state, node, message, now)
            case DataReport():
                data_report(state, node, message, now)
            case TaskUpdate():
                take_report(state, node, message.report, now)
            case SecretNames():
                take_names(state, node, message)
            case Farewell():
                handshake.farewell(state, node, now)
            case _:
                raise AssertionError(f"{type(message).__name__} is handled by the caller")

    def _advance(self, node: NodeNow, now: Now) -> None:
        """Starts gangs covered by acknowledged watts; others may use the watts a moment later."""
        if len(self.state.nodes) <= SMALL_SITE_NODES:
            advance_all(self.state, now)
            return
        start_covered(self.state, node, now)
        self.state.wants_advance = True

    def _time_passed(self, now: Now) -> None:
        state = self.state
        for node in state.nodes.values():
            resend(state, node, now)
        watch_silence(state, now)
        replace_lost(state, now)
        tick_names(state, now)
        tick_rollouts(state, now)
        tick_services(state, measured_loads(state, now), now)
        tick_error_budgets(state, now)
        tick_down_services(state, now)
        tick_problems(state, now)
        state.journal.sum_up(now)
        tick_contradictions(state, now)
        tick_sensing(state, now)
        note_recovery(state, now)
        tick_planned(state, now)
        tick_limits(state, now)
        tick_reservations(state, now)
        tick_api_keys(state, now)
        tick_blocks(state, now)
        tick_clock(state, now)
        tick_out_of_band(state, now)
        expire_starts(state, now)
        tick_claims(state, now)
        grow_gangs(state, now)
        tick_outputs(state, now)
        tick_data(state, now)
        if state.wants_advance:
            advance_all(state, now)
        if state.work.end_backoffs(now):
            state.wants_plan = True
        if _is_due(state, now):
            state.wants_rebalance = True
            state.wants_plan = True
            lacking = resume_where_fits(state, now)
            if lacking is not None:
                pause_for(state, lacking, now)
            tick_pauses_ahead(state, now)
            save_learned(state, now)
            tick_use(state, now)
            tick_shares(state, now)

    def _rebalance(self, now: Now) -> None:
        state = self.state
        allocation = leases.rebalance(state, now)
        pause_where_short(state, allocation, now)
        advance_all(state, now)
        state.wants_rebalance = False
        state.rebalanced_at = now.mono_s


REBALANCE_GAP_S_PER_NODE = 0.000_25
"""Minimum time between rebalancings on request, so that bursts cost a bounded share."""

MAX_REBALANCE_GAP_S = 0.25

SMALL_SITE_NODES = 64
"""Sites up to this size are rebalanced, and waiting gangs advanced, on every request."""

PATIENCE_S = 2.0
"""Time for a welcomed agent to read back its caps before a new Hello is requested."""


def _may_rebalance(state: State, now: Now) -> bool:
    if state.rebalanced_at is None or len(state.nodes) <= SMALL_SITE_NODES:
        return True
    gap_s = min(REBALANCE_GAP_S_PER_NODE * len(state.nodes), MAX_REBALANCE_GAP_S)
    return now.mono_s - state.rebalanced_at >= gap_s


def _is_due(state: State, now: Now) -> bool:
    period_s = state.site.timing.beat_period_s
    return state.rebalanced_at is None or now.mono_s - state.rebalanced_at >= period_s * 0.99
