"""Handshake: Hello → Welcome (issues the incarnation) → Adopted (caps read back) (I8, I9)."""

from wattline_protocol.ids import Now
from wattline_protocol.site.labels import launcher_labels
from wattline_protocol.site.run_as import may_be_root
from wattline_protocol.text.wording import counted, power_text
from wattline_protocol.wire.agent_messages import PROTOCOL_VERSION, Adopted, Hello, Refused, Welcome
from wattline_protocol.wire.problems import Severity
from wattline_scheduler.core.admission.reservations import wake_jobs
from wattline_scheduler.core.agents.replaced_gpus import renew_cordons
from wattline_scheduler.core.agents.store_behind import check_hello
from wattline_scheduler.core.agents.task_reports import reconcile
from wattline_scheduler.core.emergency.fencing import void_attempt
from wattline_scheduler.core.leases.distrust import (
    classes_of,
    distrust,
    impossible_adoption,
    impossible_gpus,
)
from wattline_scheduler.core.leases.overruns import note_overruns, note_recovery
from wattline_scheduler.core.leases.quarantine import contradicts
from wattline_scheduler.core.lifecycle.restore_guard import mark_known
from wattline_scheduler.core.model import command_outbox
from wattline_scheduler.core.model import node as nodes
from wattline_scheduler.core.model.data.node_data import NodeData
from wattline_scheduler.core.model.node import NO_SEQ, NodeNow
from wattline_scheduler.core.model.problems import begin, end
from wattline_scheduler.core.model.state import State

MANY_WITHIN_S = 30.0
"""Interval within which GREETINGS_MANY new Hellos are an alarm."""

REPORT_AGAIN_S = 300.0

WAITED_S = 0.1
"""Hellos closer together count as one: they waited while the scheduler was stalled."""


def receive_hello(state: State, node: NodeNow, hello: Hello, now: Now) -> None:
    """Issues a new incarnation, saved before it is sent; a repeat gets the same Welcome."""
    reason = _refusal(node, hello)
    if reason:
        state.journal.send(node.id, Refused(PROTOCOL_VERSION, reason))
        return
    impossible = impossible_gpus(node, hello.gpus)
    if impossible:
        state.journal.send(node.id, Refused(PROTOCOL_VERSION, f"{node.id} {impossible}"))
        if node.record.is_off:
            end_off(state, node, now)  # it is refused, but it is not off
        distrust(state, node, impossible, now)
        return
    if hello.epoch_seen > state.epoch:
        _refuse_older_self(state, node, hello, now)
        return
    link = node.link
    is_repeat = not isinstance(link, nodes.Unheard) and link.nonce == hello.nonce
    if not is_repeat:
        if hello.nonce in node.nonces:
            return  # overtaken by a newer Hello, which has its own incarnation
        _issue(state, node, hello, now)
    node.answered_at = now.mono_s
    state.journal.send(node.id, _welcome(state, node, hello.nonce))


def _refusal(node: NodeNow, hello: Hello) -> str:
    if hello.protocol != PROTOCOL_VERSION:
        return (
            f"the agent speaks protocol {hello.protocol}, this scheduler speaks "
            f"{PROTOCOL_VERSION}; install the same Wattline version on both"
        )
    if hello.node != node.id:
        return f"the key belongs to {node.id}, but the agent claims to be {hello.node}"
    return ""


def _refuse_older_self(state: State, node: NodeNow, hello: Hello, now: Now) -> None:
    """Refuses an agent that has seen a later epoch: this scheduler's store is an old copy."""
    reason = (
        f"the agent knows epoch {hello.epoch_seen}, this scheduler is at {state.epoch}: its "
        "store is an old copy; stop it and start it once with `wattline scheduler --recover`"
    )
    if hello.epoch_seen > now.unix_s:
        # Recovery epochs are wall-clock seconds: a new one now would be lower than the agent's.
        reason += ", but first set the clock of its host, which was set back since"
    state.journal.send(node.id, Refused(PROTOCOL_VERSION, reason))
    if node.record.is_off:
        end_off(state, node, now)
    if node.id not in state.contradicted and not node.record.is_quarantined:
        state.journal.save(state.books.distrust(node.id))
        node.outdate_offer()
        begin(state, "epoch_too_old", node.id, f"{node.id}: {reason}", now, node=node.id)
        note_overruns(state, f"{node.id} knows a later epoch", now)
        contradicts(state, node, reason, now, claims_epoch=True)


def _issue(state: State, node: NodeNow, hello: Hello, now: Now) -> None:
    check_hello(state, node, hello, now)
    was_off, before = node.record.is_off, _hardware(node)
    renew_cordons(state, node, hello.gpus, now)
    incarnation = nodes.next_incarnation(node.record.incarnation, hello.incarnation_seen)
    state.journal.change(
        node,
        incarnation=incarnation,
        boot_id=hello.boot_id,
        hostname=hello.hostname,
        agent_version=hello.agent_version,
        cpus=hello.cpus,
        memory_bytes=hello.memory_bytes,
        gpus=hello.gpus,
        is_observe=hello.observe,
        is_simulated=hello.simulated,
        task_lease_s=_longest_task_lease_s(state, node),
    )
    void_attempt(state, node, "its agent has connected", now)
    command_outbox.drop_all(node)
    node.nonces.append(hello.nonce)
    node.can_run_as, node.keeper_account = hello.can_run_as, hello.keeper_account
    node.takes_notices = hello.takes_notices
    node.takes_recovery = hello.takes_recovery
    node.keeps_records = hello.keeps_records
    node.address = hello.address
    node.launchers = launcher_labels(hello.launchers)
    node.takes_secrets, node.secrets = hello.takes_secrets, frozenset()
    node.link = nodes.Welcomed(incarnation, hello.nonce, now.mono_s)
    node.gpus = {gpu.index: gpu for gpu in hello.gpus}
    node.gpu_classes |= classes_of(hello.gpus)
    node.idle.clear()
    node.lost.clear()
    node.foreign.clear()
    node.beat, node.data = None, NodeData()
    node.non_gpu_worst_mw = node.site.non_gpu_worst_mw  # its next heartbeat may raise it
    node.heard_at = now.mono_s
    node.lease_seq = node.acked_seq = NO_SEQ
    node.outdate()
    state.forget_verdicts()
    if _hardware(node) != before:
        wake_jobs(state, now)
    _report_frequent_hellos(state, node, now)
    if was_off:
        end_off(state, node, now)


def _hardware(node: NodeNow) -> tuple[object, ...]:
    """Hardware that decides which jobs fit on the node."""
    return node.record.gpus, node.record.cpus, node.record.memory_bytes, node.labels


def _report_frequent_hellos(state: State, node: NodeNow, now: Now) -> None:
    """Alarm for frequent Hellos: two agents with one key take the node from each other."""
    if node.greeted_at and now.mono_s - node.greeted_at[-1] < WAITED_S:
        return
    node.greeted_at.append(now.mono_s)
    within_s = now.mono_s - node.greeted_at[0]
    is_many = len(node.greeted_at) == nodes.GREETINGS_MANY and within_s <= MANY_WITHIN_S
    if not is_many or now.mono_s - node.reported_many_at < REPORT_AGAIN_S:
        return
    node.reported_many_at = now.mono_s
    text = (
        f"{nodes.GREETINGS_MANY} new greetings of {node.id} within {within_s:.0f} s, the last from "
        f"host {node.record.hostname}: two agents use its key, or its agent ends again and again"
    )
    begin(state, "node_greets_often", node.id, text, now, node=node.id)


def end_off(state: State, node: NodeNow, now: Now) -> None:
    """Ends the off state of a node that is heard: it counts in full at once (I3)."""
    state.journal.change(node, is_off=False, off_reason="", fence="")
    state.journal.save(state.books.declare_on(node.id))
    node.outdate()
    cause = f"{node.id} was declared off but its agent reports"
    text = f"{cause}: it counts in full until its caps are known"
    begin(state, "node_off_but_heard", node.id, text, now, node=node.id)
    note_overruns(state, cause, now)


def _longest_task_lease_s(state: State, node: NodeNow) -> float:
    """No keeper shortens a lease, so that of an earlier site file may count until its attempts have
    ended (I7)."""
    new_s = state.site.timing.task_lease_s
    return max(new_s, node.record.task_lease_s) if node.attempts else new_s


def _welcome(state: State, node: NodeNow, nonce: bytes) -> Welcome:
    timing = state.site.timing
    return Welcome(
        protocol=PROTOCOL_VERSION,
        epoch=state.epoch,
        instance=state.instance,
        incarnation=node.record.incarnation,
        nonce=nonce,
        beat_period_s=timing.beat_period_s,
        isolation_after_s=timing.isolation_after_s,
        isolation=timing.isolation,
        task_lease_s=timing.task_lease_s,
        emergency_grace_s=timing.emergency_grace_s,
        non_gpu_worst_mw=node.site.non_gpu_worst_mw,
        psu_efficiency_permille=node.site.psu_efficiency_permille,
        checkpoint_root=state.site.checkpoint_root,
        node_state=node.state,
        may_be_root=may_be_root(state.site.run_as),
        pass_env=state.site.pass_env,
        containers=state.site.containers,
        takes_secrets=True,
    )


def adopted(state: State, node: NodeNow, message: Adopted, now: Now) -> None:
    """Replaces the node's entry in the books by the caps its new incarnation read back (I9)."""
    link = node.link
    if not isinstance(link, nodes.Welcomed):
        return  # a repeat: the entry was replaced, and leases may have been sent since
    node.link = nodes.Adopted(link.incarnation, link.nonce, now.mono_s)
    node.outdate()
    _replace_entry(state, node, message, now)
    state.contradicted.pop(node.id, None)
    for kind in ("books_contradicted", "epoch_too_old"):
        end(state, kind, node.id, now, f"the caps of {node.id} were read back")
    heard(state, node, now)
    reconcile(state, node, message.tasks, now)
    mark_known(state, node.id, now)
    word = "observes" if node.record.is_observe else "is limited to"
    tasks = counted(len(message.tasks), "task")
    text = f"{node.id} {word} {power_text(message.holding_mw)}, {tasks}"
    state.journal.note("node_adopted", text, now, by=node.id, node=node.id)
    impossible = "" if node.record.is_observe else impossible_adoption(node, message.holding_mw)
    if impossible:
        distrust(state, node, impossible, now)
    note_recovery(state, now)
    state.wants_plan = state.wants_rebalance = state.wants_staging = True


def _replace_entry(state: State, node: NodeNow, message: Adopted, now: Now) -> None:
    if node.record.is_observe:
        state.journal.save(state.books.declare_on(node.id))
        note_overruns(state, f"{node.id} only observes: it counts in full", now)
        return
    if node.record.is_quarantined or impossible_adoption(node, message.holding_mw):
        state.journal.save(state.books.distrust(node.id))
        note_overruns(state, f"{node.id} is distrusted and counts in full", now)
        return
    before_mw = state.books.committed_mw(node.id)
    state.journal.save(state.books.adopt(node.id, message.holding_mw))
    explained_mw, node.jump_mw, node.over_since = before_mw + node.jump_mw, 0, None
    if message.holding_mw > before_mw:
        is_explained = message.holding_mw <= explained_mw
        text = (
            f"{node.id} can only be limited to {power_text(message.holding_mw)}, committed were "
            f"{power_text(before_mw)}{': others use its GPUs' if is_explained else ''}"
        )
        severity: Severity = "warning" if is_explained else "alarm"
        begin(state, "node_above_books", node.id, text, now, severity=severity, node=node.id)
        note_overruns(state, text, now)


def heard(state: State, node: NodeNow, now: Now) -> None:
    """Notes a valid message of the current incarnation."""
    node.heard_at = now.mono_s
    if node.record.is_spared:
        state.journal.change(node, is_spared=False)
    if node.record.fence:
        void_attempt(state, node, "its agent reports again", now)
    node.is_isolated = False
    end(state, "node_silent", node.id, now, f"{node.id} reports again")
    if not node.is_silent:
        return
    node.is_silent = False
    node.outdate()
    state.wants_plan = state.wants_rebalance = True


def farewell(state: State, node: NodeNow, now: Now) -> None:
    """Handles an orderly stop of the agent: no message can be sent to it until its next Hello."""
    node.is_silent = True
    node.outdate()
    text = f"the agent of {node.id} stopped; its tasks continue and its lease stays committed"
    state.journal.note("agent_stopped", text, now, by=node.id, node=node.id)
