"""Rules of the agent, each removed."""

from wattline_agent.core import start
from wattline_agent.core.link import session
from wattline_agent.core.model import NodeState, Pending
from wattline_agent.core.power import gpus, held_watts, lease, steer
from wattline_agent.core.power.capper import Use
from wattline_agent.core.tasks import commands
from wattline_protocol.ids import Epoch, GpuIndex, Incarnation, Now
from wattline_protocol.wire.agent_messages import Lease
from wattline_sim.fleet.mutants.mutant import Mutant, Swap


def _acknowledge_early(state: NodeState, pending: Pending, now: Now) -> bool:
    del pending, now
    lease.enter_into_force(state)
    lease.acknowledge(state)
    return True


def _any_incarnation(state: NodeState, epoch: Epoch, incarnation: Incarnation) -> bool:
    del incarnation
    member = state.session.member
    return member is not None and member.adopted is not None and epoch == member.welcome.epoch


def _unfenced(state: NodeState, epoch: Epoch, incarnation: Incarnation) -> bool:
    del epoch, incarnation
    member = state.session.member
    return member is not None and member.adopted is not None


def _any_order(state: NodeState, message: Lease, now: Now) -> None:
    state.pending = Pending(message, now.mono_s)


def _unsaved(state: NodeState) -> None:
    """In force in memory; the file stays as it was."""
    before = len(state.out)
    _enter_into_force(state)
    del state.out[before:]


_enter_into_force = lease.enter_into_force


def _idle_at_once(gpu: gpus.Gpu, presume: bool) -> Use:
    del gpu, presume
    return "idle"


def _own_at_once(state: NodeState) -> list[tuple[gpus.Gpu, Use]]:
    """What a stop gives back without a look at draw."""
    return [(gpu, "idle") for gpu in state.gpus if gpu.can_set and not gpu.is_lost]


def _no_look(state: NodeState, goal: dict[GpuIndex, int], now: Now) -> bool:
    del state, goal, now
    return False


def _no_shortage(state: NodeState, gpus: object) -> str:
    del state, gpus
    return ""


def _begin_at_once(state: NodeState, now: Now) -> bool:
    """Launches what waits, whatever is held."""
    waiting = [a for a in state.attempts.values() if a.will_load_gpus]
    if waiting:
        commands._begin(state, waiting[0], now)
    return bool(waiting)


def _raised_at_once(state: NodeState, now: Now) -> tuple[int, ...]:
    """Caps go where the lease on file wants them, also before anything was adopted."""
    if state.lease is None or state.terms is None or steer.is_floored(state, now):
        return tuple(gpu.info.cap_min_mw for gpu in state.gpus)
    return held_watts.plan_for(state, state.lease.lease_mw, state.lease.wanted_mw).caps_mw


UNCOVERED: tuple[Swap, ...] = (
    (commands, "shortage", _no_shortage),
    (commands, "start_waiting", _begin_at_once),
)
"""An agent that starts whatever it is told to."""

MUTANTS = (
    Mutant(
        "acknowledge-before-caps",
        "the agent lowers its caps before it acknowledges a smaller lease",
        ((steer, "_toward_pending", _acknowledge_early),),
        "I2",
    ),
    Mutant(
        "any-incarnation",
        "the agent checks the incarnation of a lease",
        ((session, "is_current", _any_incarnation),),
        "I8",
    ),
    Mutant(
        "any-epoch",
        "the agent checks the epoch of a lease",
        ((session, "is_current", _unfenced),),
        "I8",
        covered_by="incarnations increase across epochs: a late lease names an old one",
    ),
    Mutant(
        "any-order",
        "the agent checks the sequence of a lease",
        ((lease, "received", _any_order),),
        "I8",
    ),
    Mutant(
        "acknowledge-before-saving",
        "the agent saves the lease before it acknowledges it",
        ((lease, "enter_into_force", _unsaved), (steer, "goal_caps", _raised_at_once)),
        "I2",
        covered_by="a restarted agent raises no cap before it has adopted what it reads back",
    ),
    Mutant(
        "idle-at-once",
        "a GPU counts as idle only after its draw has been at idle for a while",
        ((held_watts, "_without_load", _idle_at_once),),
        "I2",
    ),
    Mutant(
        "limits-back-at-once",
        "a clean stop restores a limit only on a GPU that was measured idle",
        ((start, "_own", _own_at_once),),
        "I2",
    ),
    Mutant(
        "start-on-old-limits",
        "a start requires limits read back since it began to wait",
        ((steer, "_confirm_waiting", _no_look),),
        "I2",
    ),
)
