"""The loop: receive messages, let the core decide, commit to disk, then send.

One thread. Each step handles a batch of messages, commits all their saves in one transaction (group
commit) and only then sends and answers, in the order in which the core decided. So no message
reports anything that a crash could undo, and a burst costs one fsync (see `commits`).
"""

import math
import time
from collections.abc import Callable
from functools import partial

import structlog
import zmq

from wattline_protocol.data.requests import DataQuestion
from wattline_protocol.data.secrets import SecretDone
from wattline_protocol.ids import Instant, JobId, NodeId, Now, UserName
from wattline_protocol.trust.members import Authorized, Member
from wattline_protocol.views.capacity_views import GetCapacity
from wattline_protocol.views.history_views import GetHistory
from wattline_protocol.views.load_views import GetLoad
from wattline_protocol.views.name_views import ListNames
from wattline_protocol.views.power_views import WhatIfPower
from wattline_protocol.views.report_views import GetReport
from wattline_protocol.views.request_logs import ReadRequestLog, ReportLogPage, WatchLogQueries
from wattline_protocol.views.service_views import ListServices
from wattline_protocol.wire.agent_messages import (
    PROTOCOL_VERSION,
    FromAgent,
    Hello,
    LogChunk,
    Refused,
    Rollups,
    RollupsSeen,
)
from wattline_protocol.wire.api_keys import ListApiKeys
from wattline_protocol.wire.client_messages import (
    Ask,
    Cancel,
    Denied,
    Explain,
    GetJob,
    GetNode,
    GetPlan,
    GetPower,
    GetSite,
    Hold,
    ListAccounts,
    ListJobs,
    ListNodes,
    OnJobs,
    Release,
    Requeue,
    Submit,
    Update,
    WhatIf,
    WhyNode,
)
from wattline_protocol.wire.event_log import ListEvents, ListProblems
from wattline_protocol.wire.reservations import ListReservations, Reserve
from wattline_protocol.wire.rollouts import GetRollout
from wattline_protocol.wire.subscriptions import Seen, Unwatch, WatchRoutes, WatchSite
from wattline_protocol.wire.task_reports.run_records import RecordRead
from wattline_protocol.wire.task_reports.terminals import TerminalDone
from wattline_scheduler.core.cluster import Cluster
from wattline_scheduler.core.leases.fault_barrier import failed, internal_error, unsendable
from wattline_scheduler.core.model.effects import ActOutOfBand, Effect, Reply, Save, Send
from wattline_scheduler.core.model.events import (
    TICK_PERIOD_S,
    ActRefused,
    AgentMessage,
    ClientRequest,
    Event,
    MembersSeen,
    PlanDue,
    ServiceHistoryRead,
    TimePassed,
)
from wattline_scheduler.core.requests.audit.refused_acts import in_words
from wattline_scheduler.core.requests.bulk_actions import named
from wattline_scheduler.core.requests.selection import Asker
from wattline_scheduler.notification_record import NotificationRecord
from wattline_scheduler.records import AttemptRecord, BookRecord, EventRecord, MemberRecord
from wattline_scheduler.shell.agent_endpoint import AgentEndpoint
from wattline_scheduler.shell.agent_turns import AgentTurns
from wattline_scheduler.shell.background import Background
from wattline_scheduler.shell.clients.client_endpoint import ClientEndpoint, Session
from wattline_scheduler.shell.clients.client_turns import ClientTurns
from wattline_scheduler.shell.clients.log_reads import LogReads
from wattline_scheduler.shell.clients.permissions import agent_keys, gateway_keys, not_for
from wattline_scheduler.shell.clients.pictures.picture_turns import PictureTurns
from wattline_scheduler.shell.clients.pictures.site_feed import SiteFeed
from wattline_scheduler.shell.clients.questions import Reads
from wattline_scheduler.shell.clients.relays import Relayed, Relays
from wattline_scheduler.shell.clients.report_worker import ReportWorker, report_order
from wattline_scheduler.shell.clients.selected_jobs import looked_up
from wattline_scheduler.shell.clients.site_snapshots import Snapshots
from wattline_scheduler.shell.clients.subscriptions import Watches
from wattline_scheduler.shell.commits import Commits
from wattline_scheduler.shell.fatal_messages import FatalMessage, FatalMessages
from wattline_scheduler.shell.garbage import GarbageCollection
from wattline_scheduler.shell.http_api.exchange import DOOR, ApiRequest
from wattline_scheduler.shell.logs import log_event
from wattline_scheduler.shell.power_rollups import METER_PERIOD_S, PowerRollups, SpooledRollups
from wattline_scheduler.shell.service_rollups import ServiceRollups
from wattline_scheduler.shell.sockets import Sockets
from wattline_scheduler.shell.step_times import StepTimes
from wattline_scheduler.store.errors import StoreError
from wattline_scheduler.store.store import Store
from wattline_scheduler.store.tables import Storable
from wattline_scheduler.time_slices import Parts, in_one_part

PLAN_INTERVAL_S = 0.01
"""Delay of planning for more submissions, so that a burst is planned at once."""

TIDY_PERIOD_S = 3_600.0

SLOW_STEP_S = 0.5
SLOW_STEP_CPU_S = 0.25
"""A step that takes longer is logged: beats and leases waited for it."""

log = structlog.get_logger()


class Loop:
    """One running scheduler; call `step` until it is to stop."""

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        sockets: Sockets,
        members: Authorized,
        services: Background,
        clock: Callable[[], Now],
        fatal: FatalMessages,
    ) -> None:
        self._cluster = cluster
        self._fatal = fatal
        self._state = cluster.state
        self._store = store
        self._sockets = sockets
        self._members = members
        self._services = services
        self._clock = clock
        self._agents = AgentEndpoint(sockets.agents, cluster.state.nodes)
        self._agent_turns = AgentTurns(self._agents, clock, self._agent_message)
        self._clients = ClientEndpoint(sockets.clients, cluster.state.site.name)
        self._reads = Reads(cluster, store, sockets.refused, clock)
        self._relays = Relays(cluster.state, store, partial(agent_keys, members), self._handle)
        self._log_reads = LogReads(cluster.state, self._clients, self._handle)
        self._turns = ClientTurns(self._clients, clock, self._client_request, self._failed)
        self._snapshots = Snapshots(self._reads.site, clock)
        self._reports = ReportWorker()
        self._rollups, self._spooled = PowerRollups(cluster.state), SpooledRollups()
        self._service_rollups = ServiceRollups(cluster.state)
        feed = SiteFeed(cluster.state, self._reads.show_job, sockets.refused)
        pictures = PictureTurns(feed, clock, time.thread_time)
        shown = (self._snapshots, pictures, store.events, store.acts, self._reads.routes)
        self._watches = Watches(self._clients, *shown, clock, self._alarmed)
        self._poller = zmq.Poller()
        self._poller.register(sockets.agents.socket, zmq.POLLIN)
        self._poller.register(sockets.clients.socket, zmq.POLLIN)
        self._poller.register(services.http_api, zmq.POLLIN)
        self._tick_due = self._plan_due = self._meter_due = Instant(0.0)
        self._tidy_due = Instant(clock().mono_s + TIDY_PERIOD_S)
        self._steps: list[Storable] = []
        self._commits = Commits(store)
        self._is_tick_late = False
        self._garbage = GarbageCollection(clock().mono_s)
        self._times = StepTimes()
        self._used_cpu_s = time.thread_time()
        self._members_seen: tuple[Member, ...] = ()

    def step(self) -> None:
        """Wait for work, at most until something is due, and do all of it. Raises StoreError."""
        self._poller.poll(self._wait_ms())
        began = self._clock()
        effects: list[Effect] = []
        self._agent_turns.take_in()
        effects += self._agent_turns.serve()
        self._turns.take_in()
        effects += self._turns.serve()
        for number, request in self._services.http_api.receive():
            effects += self._handle_api_request(number, request)
        if not self._turns.defers_due:
            effects += self._handle_due()
        self._carry_out(effects)
        now = self._clock()
        self._clients.flush(now.mono_s)
        if shown := self._watches.show(self._newest_event(), self._state.journal.newest_act):
            self._carry_out(shown)
        self._garbage.tick(now.mono_s)
        self._note_step(began.mono_s)

    def _note_step(self, began_s: Instant) -> None:
        now_s, used_cpu_s = self._clock().mono_s, time.thread_time()
        took_s, cpu_s = now_s - began_s, used_cpu_s - self._used_cpu_s
        self._used_cpu_s = used_cpu_s  # waiting for work uses none
        self._times.add(now_s, took_s, cpu_s)
        if took_s > TICK_PERIOD_S and not self._is_tick_late:
            # Messages sent just now get time to be answered before they are sent again; a tick is
            # delayed once, not for ever.
            self._tick_due, self._is_tick_late = Instant(now_s + TICK_PERIOD_S), True
        if took_s > SLOW_STEP_S or cpu_s > SLOW_STEP_CPU_S:
            log.warning("step_slow", seconds=round(took_s, 3), cpu_s=round(cpu_s, 3))

    def close(self) -> None:
        """Save the roll-up steps in progress, and the marks of webhooks. Raises StoreError."""
        self._reports.close()
        self._commits.flush()
        self._services.webhooks.close()
        steps = (*self._rollups.take(), *self._service_rollups.take())
        self._store.commit((*self._services.webhooks.marks(), *steps))

    def _wait_ms(self) -> int:
        due = min(self._tick_due, self._meter_due, self._commits.due or self._tick_due)
        if self._cluster.wants_plan:
            due = min(due, self._plan_due)
        now = self._clock().mono_s
        turns = (self._turns, self._agent_turns, self._watches)
        others_s = (self._clients.retry_in_s(now), *(each.next_in_s() for each in turns))
        wait_s = min((due - now, *(each for each in others_s if each is not None)))
        return max(0, math.ceil(wait_s * 1000))

    def _newest_event(self) -> int:
        events = self._state.journal.events
        return events[-1].seq if events else 0

    # --- input --------------------------------------------------------------------------

    def _agent_message(self, node: NodeId, message: FromAgent, now: Now) -> list[Effect]:
        match message:
            case LogChunk() | RecordRead() | SecretDone() | TerminalDone():
                effects, runs = self._relays.take(node, message, now)
                self._steps += runs
                return effects
            case Rollups():
                event = AgentMessage(node, message)
                if self._fatal.refusal(event, now) is not None:
                    return []
                self._fatal.enter(event)
                steps = self._spooled.steps(node, message, now)
                self._fatal.leave()
                if steps is None:
                    return []
                self._steps += steps
                return [Send(node, RollupsSeen(message.last))]
            case _:
                return self._handle(AgentMessage(node, message), now)

    def _client_request(self, session: Session, ask: Ask) -> list[Effect]:
        request, client = ask.request, session.connection
        denied = not_for(session.role, request)
        now, asker = self._clock(), Asker(session.user, session.role)
        if denied is not None:
            what = f"{session.role} may not {in_words(request)}"
            refused = ActRefused(session.user, what, denied.reason)
            return [*self._handle(refused, now), Reply(client, ask.ask, denied)]
        match request:
            case WatchSite() | WatchRoutes() | ListEvents(follow=True):
                full = self._watches.add(session, ask.ask, request, now)
                return [] if full is None else [Reply(client, ask.ask, full)]
            case Unwatch(ask=watched):
                self._watches.drop(session, watched)
                self._log_reads.unwatch(session, watched)
                return []
            case WatchLogQueries() | ReadRequestLog() | ReportLogPage():
                return self._log_reads.answer(session, ask.ask, asker, request, now)
            case Seen(ask=watched):
                self._watches.seen(session, watched)
                return []
            case _ if isinstance(request, Relayed):
                return self._relays.answer(client, ask.ask, asker, request, now)
            case GetReport():
                steps, path = self._rollups.peek, self._store.path
                full_endpoint = self._reports.order(
                    client,
                    ask.ask,
                    session.user,
                    lambda: report_order(self._state, path, steps(), request, now),
                )
                return [] if full_endpoint is None else [full_endpoint]
            case (
                GetNode()
                | GetPower()
                | WhyNode()
                | ListAccounts()
                | ListReservations()
                | ListProblems()
                | GetRollout()
                | GetCapacity()
                | GetHistory()
            ):
                return [Reply(client, ask.ask, self._reads.answer(request, now))]
            case _ if isinstance(request, ListApiKeys | ListNames | DataQuestion):
                return [Reply(client, ask.ask, self._reads.for_asker(asker, request, now))]
            case ListJobs() | ListNodes() | ListEvents():
                return self._turns.later(session, ask.ask, partial(self._reads.listed, request))
            case ListServices():
                begin_list = partial(self._reads.services, asker, request)
                return self._turns.later(session, ask.ask, begin_list)
            case GetPlan():
                return self._turns.later(session, ask.ask, self._reads.newest_plan)
            case GetSite():
                parts = self._snapshots.since(now.mono_s)
                return self._turns.later(session, ask.ask, lambda _: parts)
            case GetLoad(last_s=last_s):
                return [Reply(client, ask.ask, self._times.load(now.mono_s, last_s))]
            case GetJob(job=number):
                return [Reply(client, ask.ask, self._reads.job(number, asker, now))]
            case Explain(job=number):
                return self._turns.later(session, ask.ask, partial(self._reads.explain, number))
            case WhatIf() | WhatIfPower():
                begin_trial = partial(self._reads.what_if, asker, request)
                return self._turns.later(session, ask.ask, begin_trial)
            case Cancel() | Hold() | Release() | Requeue() | Update() if request.which.is_slow:
                begin_act = partial(self._act_in_parts, session, ask, request)
                return self._turns.act_later(session, ask.ask, begin_act)
            case _:
                return self._handle(self._asked(session, ask), now)

    def _act_in_parts(
        self, session: Session, ask: Ask, request: OnJobs, began: Now
    ) -> Parts[list[Effect]]:
        """Look up what is selected in parts, then act at once."""
        del began
        event, show_job = self._asked(session, ask), self._reads.show_job
        found = yield from looked_up(self._state, event, request, show_job, self._clock)
        return self._handle(found, self._clock())

    def _asked(self, session: Session, ask: Ask) -> ClientRequest:
        """The request with data that the core does not have in memory."""
        request = ask.request
        numbers: tuple[JobId, ...] = ()
        if isinstance(request, Submit):
            numbers = request.spec.parents
        elif isinstance(request, OnJobs):
            numbers = named(request)
        ended = self._reads.ended(numbers)
        users = self._members.users() if isinstance(request, Reserve) else None
        by = (session.connection, ask.ask, session.user, session.role)
        return ClientRequest(*by, request, ended, users)

    def _handle_api_request(self, number: int, request: ApiRequest) -> list[Effect]:
        """Handle an HTTP request. Its token permits grid events, as an operator, and to read the
        metrics of services, and no other."""
        api = self._services.http_api.api
        user = UserName("" if api is None else api.caller)
        session = Session(DOOR, user, "operator")
        if isinstance(request, GetPower):
            begin_read = partial(in_one_part, partial(self._reads.answer, request))
            return self._turns.later(session, number, begin_read)
        if isinstance(request, ListServices):
            begin = partial(self._reads.services, Asker(user, "operator"), request)
            return self._turns.later(session, number, begin)
        asked = ClientRequest(DOOR, number, user, "operator", request)
        return self._handle(asked, self._clock())

    def _failed(self, session: Session, ask: int, what: str, error: Exception) -> list[Effect]:
        """Handle a failed answer: a refusal and an alarm, if nothing was changed."""
        effects = self._alarmed(session.user, what, error)
        return [*effects, Reply(session.connection, ask, internal_error(what, error))]

    def _alarmed(self, user: UserName, what: str, error: Exception) -> list[Effect]:
        if self._fatal.is_under_way or isinstance(error, StoreError | MemoryError):
            raise error
        log.error("request_failed", user=user, what=what, exc_info=error)
        return self._handle(failed(what, user, error), self._clock())

    def refuse_again(self) -> None:
        """Raise alarms about refused messages that ended earlier runs. Raises StoreError."""
        for message in self._fatal.refused:
            self._carry_out(self._handle(message.fault(), self._clock()))

    def _refused(self, event: Event, message: FatalMessage, now: Now) -> list[Effect]:
        effects = self._handle(message.fault(), now)
        match event:
            case ClientRequest():
                until = self._state.calendar.text(message.until_unix_s)
                text = (
                    f"this request crashed the scheduler ({message.error}): it is refused until "
                    f"{until}; please report it as a bug of Wattline"
                )
                effects.append(Reply(event.client, event.ask, Denied("internal", text)))
            case AgentMessage(message=Hello()):
                text = f"a Hello of this node crashed the scheduler ({message.error})"
                effects.append(Send(event.node, Refused(PROTOCOL_VERSION, text)))
            case _:
                pass
        return effects

    def _handle(self, event: Event, now: Now) -> list[Effect]:
        refused = self._fatal.refusal(event, now)
        if refused is not None:
            return self._refused(event, refused, now)
        self._fatal.enter(event)
        effects = self._cluster.handle(event, now)
        self._fatal.leave()
        saves = [effect.record for effect in effects if isinstance(effect, Save)]
        if saves:
            self._rollups.booked([r.node for r in saves if isinstance(r, BookRecord)])
        return effects

    def _handle_due(self) -> list[Effect]:
        effects: list[Effect] = [*self._reports.take()]
        now = self._clock()
        beside = self._services
        for event in (*beside.sensing.take(), *beside.out_of_band.take(), *beside.notifier.take()):
            effects += self._handle(event, now)
        if now.mono_s >= self._tick_due:
            self._tick_due, self._is_tick_late = Instant(now.mono_s + TICK_PERIOD_S), False
            effects += self._relays.tick(now)
            effects += self._log_reads.expire(now)
            effects += self._handle(TimePassed(), now)
        if self._cluster.wants_plan and now.mono_s >= self._plan_due:
            effects += self._handle(PlanDue(), now)
            self._plan_due = Instant(self._clock().mono_s + PLAN_INTERVAL_S)
        if now.mono_s >= self._meter_due:
            self._meter_due = Instant(now.mono_s + METER_PERIOD_S)
            effects += self._each_second(now)
        return effects

    def _each_second(self, now: Now) -> list[Effect]:
        self._store.settle()
        self._steps += self._rollups.read(now)
        self._reads.history.read(now)
        self._steps += self._service_rollups.read(now)
        self._steps += self._services.webhooks.marks()
        # Not an event: it is a parameter of future orders and decides nothing.
        self._state.gateway_keys = gateway_keys(self._members)
        effects = [*self._check_access(now), *self._read_history(now)]
        for socket in (self._sockets.agents, self._sockets.clients):
            for refusal in socket.take_refusals():
                log.warning(
                    "refused", reason=refusal.reason, who=refusal.peer, detail=refusal.detail
                )
        if now.mono_s >= self._tidy_due:
            is_more = self._store.tidy(now.unix_s)
            self._tidy_due = Instant(now.mono_s + (0.0 if is_more else TIDY_PERIOD_S))
        return [*effects, *self._handle(self._store.room(), now)]

    def _read_history(self, now: Now) -> list[Effect]:
        """One a second of the services whose load on record is wanted: a read takes some 30 ms."""
        wanted = next(iter(self._state.histories_wanted), None)
        if wanted is None:
            return []
        read = self._store.service_history(*wanted)
        return self._handle(ServiceHistoryRead(*wanted, *read), now)

    def _check_access(self, now: Now) -> list[Effect]:
        """Changes of authorized members, and attempts with an invalid token."""
        effects: list[Effect] = []
        members = self._members.members()
        if members != self._members_seen:
            self._members_seen = members
            records = tuple(MemberRecord(one.name, one.role, one.public_key) for one in members)
            effects += self._handle(MembersSeen(records), now)
        for peer in self._services.http_api.take_refusals():
            effects += self._handle(ActRefused("http door", f"token from {peer}", "is wrong"), now)
        return effects

    # --- output -------------------------------------------------------------------------

    def _reply(self, reply: Reply) -> None:
        """Send an answer. One that cannot be encoded is denied: what it reports is on disk."""
        client, ask = reply.client, reply.ask
        try:
            self._clients.reply(client, ask, reply.answer)
        except (OverflowError, RecursionError, TypeError) as error:
            session, what = self._clients.sessions[client], f"answer {type(reply.answer).__name__}"
            denied = Reply(client, ask, unsendable(what, error))
            self._carry_out([*self._alarmed(session.user, what, error), denied])

    def _carry_out(self, effects: list[Effect]) -> None:
        self._commits.take(effects, self._steps, self._clock().mono_s)
        self._fatal.settle()
        self._steps.clear()
        for effect in effects:
            match effect:
                case Send(node=node, message=message):
                    if (fault := self._agents.send(node, message)) is not None:
                        self._carry_out(self._handle(fault, self._clock()))
                case Reply(client=client, ask=ask, answer=answer) if client == DOOR:
                    self._services.http_api.reply(ask, answer)
                case Reply():
                    self._reply(effect)
                case ActOutOfBand():
                    self._services.out_of_band.order(effect)
                case Save(record=EventRecord(event=event)):
                    log_event(event)
                    self._services.webhooks.publish(event)
                case Save(record=NotificationRecord() as notification):
                    self._services.notifier.offer(notification)
                case Save(record=AttemptRecord() as attempt):
                    self._relays.note_saved(attempt)
                case Save():
                    pass
