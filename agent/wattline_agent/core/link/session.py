"""Session with the scheduler: Hello, Welcome, answered beats, isolation (I5, I8)."""

from collections.abc import Iterator
from hashlib import sha256

from wattline_agent.core.durable import TermsOnFile
from wattline_agent.core.effects import ReadSpool, RenewTaskLeases, Send, Spool
from wattline_agent.core.link.report import gpu_infos, is_cappable, problems
from wattline_agent.core.model import MAX_BEATS_OUT, Greeting, Member, NodeState, Standpoint
from wattline_agent.core.power.gpus import Gpu
from wattline_agent.core.tasks import commands
from wattline_agent.core.tasks.attempt import Attempt
from wattline_agent.core.tasks.command_memory import Answers, Closed
from wattline_protocol.data.secrets import SecretName, SecretNames
from wattline_protocol.ids import Epoch, Incarnation, Now
from wattline_protocol.wire.agent_messages import (
    PROTOCOL_VERSION,
    BeatSeen,
    GpuInfo,
    Hello,
    Refused,
    Rehello,
    Welcome,
)

HELLO_RETRY_FIRST_S = 0.5
HELLO_RETRY_MOST_S = 10.0
REFUSED_RETRY_S = 15.0
"""A refusal needs an operator: retrying more often only fills logs."""
SILENT_S = 5.0
"""A connected scheduler that has answered no beat for this long may not know us: send Hello."""
REHELLO_GRACE_S = 2.5
"""How long answers to beats of the previous incarnation may still arrive."""
CHANGE_WAIT_S = 3.0
"""A change of a GPU's abilities must last this long before it is worth a new incarnation."""
SHRINK_WAIT_S = 10.0
"""How long a smaller idle draw, which only frees watts, is withheld after a Welcome."""
IDLE_WORTH_PERMILLE = 900
SPOOL_RETRY_S = 10.0


def connected(state: NodeState, now: Now) -> None:
    """A new connection begins with a Hello."""
    state.session.is_connected = True
    state.session.hello_due_s = now.mono_s
    state.session.tries = 0


def lost(state: NodeState) -> None:
    """No message sent is sure to have arrived."""
    session = state.session
    session.is_connected = False
    session.greeting = None
    session.hello_due_s = None


def tick(state: NodeState, now: Now, here: Standpoint | None) -> None:
    """Send Hello when it is due. `here` is the current `steer.standpoint`."""
    session = state.session
    if not session.is_connected or state.caps.is_waiting or state.is_stopping:
        return
    if session.hello_due_s is None and _has_news(state, here, now):
        session.hello_due_s = now.mono_s
    if session.hello_due_s is not None and now.mono_s >= session.hello_due_s:
        _send_hello(state, now)
    if session.is_spool_asked and now.mono_s >= session.spool_retry_s:
        ask_spool(state, now)


def _has_news(state: NodeState, here: Standpoint | None, now: Now) -> bool:
    """News that requires a Hello, or no sign that the scheduler knows this incarnation."""
    session = state.session
    if session.greeting is not None:
        return False
    member = session.member
    if member is None or now.mono_s - max(session.heard_s, member.since_s) > SILENT_S:
        return True
    if now.mono_s - member.since_s < CHANGE_WAIT_S:
        return False
    may_wait = now.mono_s - member.since_s < SHRINK_WAIT_S
    if here is not None and session.no_news_at == (here, may_wait):
        return False
    is_news = _worth_reporting(state, member, may_wait, now)
    session.no_news_at = None if is_news or here is None else (here, may_wait)
    return is_news


def _worth_reporting(state: NodeState, member: Member, may_wait: bool, now: Now) -> bool:
    if len(state.gpus) != len(member.reported):
        return True
    pairs = list(zip(member.reported, state.gpus, strict=True))
    if any(_is_other(state, reported, gpu, now) for reported, gpu in pairs):
        return True
    is_busy = any(a.will_load_gpus for a in state.attempts.values()) or state.pending is not None
    return not (may_wait or is_busy) and any(
        gpu.idle_bound_mw * 1000 < reported.idle_mw * IDLE_WORTH_PERMILLE for reported, gpu in pairs
    )


def _is_other(state: NodeState, reported: GpuInfo, gpu: Gpu, now: Now) -> bool:
    return (
        reported.uuid != gpu.info.uuid
        or reported.mig != gpu.info.mig
        or reported.can_cap != is_cappable(state, gpu, now)
        or reported.raised != (gpu.raised is not None)
        or reported.healthy != gpu.is_healthy(now.mono_s)
        or state.overshoot_permille(gpu) > reported.overshoot_permille
        or gpu.idle_bound_mw > reported.idle_mw
    )


def _send_hello(state: NodeState, now: Now) -> None:
    session, facts = state.session, state.facts
    session.hellos += 1
    nonce = sha256(facts.nonce_seed + session.hellos.to_bytes(8, "big")).digest()[:16]
    session.greeting = Greeting(nonce, now.mono_s, gpu_infos(state, now))
    wait_s = min(HELLO_RETRY_FIRST_S * 2**session.tries, HELLO_RETRY_MOST_S)
    session.hello_due_s = now.mono_s + wait_s
    session.tries = min(session.tries + 1, 16)
    state.emit(
        Send(
            Hello(
                protocol=PROTOCOL_VERSION,
                node=facts.node,
                nonce=nonce,
                agent_version=facts.agent_version,
                boot_id=state.file.boot_id,
                hostname=facts.hostname,
                cpus=facts.cpus,
                memory_bytes=facts.memory_bytes,
                gpus=session.greeting.reported,
                epoch_seen=state.file.epoch,
                incarnation_seen=state.file.incarnation,
                observe=facts.is_observe,
                simulated=facts.is_simulated,
                problems=problems(state, now),
                can_run_as=facts.can_run_as,
                keeper_account=facts.keeper_account,
                takes_notices=True,
                takes_recovery=facts.takes_recovery,
                keeps_records=True,
                address=facts.address,
                launchers=facts.launchers,
                takes_secrets=facts.takes_secrets,
            )
        )
    )


def report_secrets(state: NodeState) -> None:
    """Send the names of all entries once they differ from what the scheduler has."""
    member, names = state.session.member, state.secrets.names
    if member is None or member.adopted is None or names == member.secrets_sent:
        return
    if state.facts.takes_secrets and member.welcome.takes_secrets:
        member.secrets_sent = names
        entries = tuple(SecretName(*name.split("/")) for name in names)
        welcome = member.welcome
        state.emit(Send(SecretNames(welcome.epoch, welcome.incarnation, entries)))


def welcomed(state: NodeState, welcome: Welcome, now: Now) -> None:
    """A Welcome to our newest Hello, from a scheduler we may obey, begins an incarnation."""
    greeting = state.session.greeting
    if greeting is None or welcome.nonce != greeting.nonce:
        return
    refusal = _fence(state, welcome)
    if refusal:
        _refuse(state, refusal, now)
        return
    _begin(state, welcome, greeting, now)


def _fence(state: NodeState, welcome: Welcome) -> str:
    """Why this scheduler or incarnation must not be obeyed; empty = it may (I8)."""
    file = state.file
    if welcome.protocol != PROTOCOL_VERSION:
        return (
            f"the scheduler uses protocol {welcome.protocol}, this agent {PROTOCOL_VERSION}: "
            "install the same release on both"
        )
    if welcome.epoch < file.epoch:
        return (
            f"the scheduler is at epoch {welcome.epoch}, this node knows epoch {file.epoch}: "
            "a restored backup must be started with --recover"
        )
    if welcome.epoch == file.epoch and file.instance not in ("", welcome.instance):
        return (
            f"another scheduler (instance {welcome.instance}) claims epoch {welcome.epoch} of "
            f"instance {file.instance}: stop one of them"
        )
    if welcome.epoch == file.epoch and welcome.incarnation <= file.incarnation:
        return (
            f"incarnation {welcome.incarnation} is not newer than {file.incarnation}, which this "
            "node already used"
        )
    return ""


def _begin(state: NodeState, welcome: Welcome, greeting: Greeting, now: Now) -> None:
    state.change_file(
        epoch=welcome.epoch,
        instance=welcome.instance,
        incarnation=welcome.incarnation,
        terms=_terms(welcome),
    )
    session = state.session
    session.member = Member(welcome, now.mono_s, greeting.reported)
    session.greeting, session.hello_due_s, session.tries = None, None, 0
    session.refusal = ""
    session.beats_out.clear()
    session.heard_s = max(session.heard_s, greeting.sent_s)
    state.pending, state.is_acked = None, True
    state.answers, state.closed = Answers(), Closed()
    state.beat_due_s = now.mono_s
    commands.drop_waiting(state)


def _terms(welcome: Welcome) -> TermsOnFile:
    return TermsOnFile(
        beat_period_s=welcome.beat_period_s,
        isolation_after_s=welcome.isolation_after_s,
        isolation=welcome.isolation,
        task_lease_s=welcome.task_lease_s,
        non_gpu_worst_mw=welcome.non_gpu_worst_mw,
        psu_efficiency_permille=welcome.psu_efficiency_permille,
        checkpoint_root=welcome.checkpoint_root,
        pass_env=welcome.pass_env,
        may_be_root=welcome.may_be_root,
        containers=welcome.containers,
    )


def refused(state: NodeState, message: Refused, now: Now) -> None:
    """The scheduler refuses this node; ignored unless a Hello is outstanding."""
    if state.session.greeting is not None:
        _refuse(state, f"refused by the scheduler: {message.reason}", now)


def _refuse(state: NodeState, reason: str, now: Now) -> None:
    session = state.session
    session.greeting = None
    session.hello_due_s = now.mono_s + REFUSED_RETRY_S
    if reason != session.refusal:
        state.note("greeting_failed", reason)
    session.refusal = reason


def rehello(state: NodeState, message: Rehello, now: Now) -> None:
    """The scheduler does not know this incarnation (any more)."""
    session, member = state.session, state.session.member
    is_late = member is not None and now.mono_s - member.since_s < REHELLO_GRACE_S
    if message.epoch < state.file.epoch or session.greeting is not None or is_late:
        return
    state.note("rehello", message.reason)
    session.hello_due_s = now.mono_s


def is_current(state: NodeState, epoch: Epoch, incarnation: Incarnation) -> bool:
    """Whether a command is for this incarnation, after Adopted, and from its epoch (I8)."""
    member = state.session.member
    return (
        member is not None
        and member.adopted is not None
        and (epoch, incarnation) == (member.welcome.epoch, member.welcome.incarnation)
    )


def beat_sent(state: NodeState, seq: int, now: Now) -> None:
    """Record when a beat was sent: its answer proves contact at this time."""
    out = state.session.beats_out
    out[seq] = now.mono_s
    while len(out) > MAX_BEATS_OUT:
        del out[min(out)]


def beat_seen(state: NodeState, seen: BeatSeen, now: Now) -> None:
    """Contact counts from when the answered beat was sent, never from when the answer came."""
    session, member = state.session, state.session.member
    sent_s = session.beats_out.pop(seen.seq, None)
    if sent_s is None or member is None:
        return
    session.heard_s = max(session.heard_s, sent_s)
    session.beat_heard_s = max(session.beat_heard_s, sent_s)
    leased = (a.has_task_lease or a.order.on_isolation == "stop" for a in _living(state))
    if any(leased):
        state.emit(RenewTaskLeases(session.heard_s + member.welcome.task_lease_s))
    rollup = state.outage.end()
    if rollup is not None:
        state.emit(Spool(rollup))
    if rollup is not None or not member.is_confirmed:
        member.is_confirmed = True
        ask_spool(state, now)


def _living(state: NodeState) -> Iterator[Attempt]:
    return (attempt for attempt in state.attempts.values() if attempt.is_alive)


def ask_spool(state: NodeState, now: Now) -> None:
    """Read the oldest roll-ups; repeated until the spool is empty."""
    state.session.is_spool_asked = True
    state.session.spool_retry_s = now.mono_s + SPOOL_RETRY_S
    state.emit(ReadSpool())
