"""Rules about GPUs that processes use which are no task's, each removed."""

from wattline_agent.core.model import NodeState
from wattline_agent.core.power import foreign_processes, gpus, held_watts
from wattline_agent.core.power.capper import Use
from wattline_agent.core.tasks import commands
from wattline_protocol.ids import GpuIndex, Now
from wattline_protocol.wire.agent_messages import Beat
from wattline_scheduler.core.leases import distrust
from wattline_scheduler.core.model import devices
from wattline_scheduler.core.model.node import NodeNow
from wattline_sim.fleet.mutants.mutant import Mutant


def _idle_by_draw(gpu: gpus.Gpu, presume: bool) -> Use:
    """Whoever else holds it."""
    return "idle" if gpu.is_idle or (presume and gpu.is_presumed_idle) else "settling"


def _not_refused(state: NodeState, now: Now) -> bool:
    del state, now
    return False


def _no_reason(gpu: gpus.Gpu) -> str:
    del gpu
    return ""


def _not_in_use(node: NodeNow, index: GpuIndex) -> str:
    del node, index
    return ""


def _nothing_explained(node: NodeNow, beat: Beat) -> int:
    del node, beat
    return 0


MUTANTS = (
    Mutant(
        "foreign-counts-idle",
        "a GPU that a foreign process holds never counts its idle watts",
        ((held_watts, "_without_load", _idle_by_draw),),
        "I2",
    ),
    Mutant(
        "start-beside-foreign",
        "an agent starts nothing on a GPU that a foreign process uses",
        (
            (commands, "_refuse_beside_foreign", _not_refused),
            (foreign_processes, "why_not_given", _no_reason),
            (devices, "in_use", _not_in_use),
        ),
        "DESIGN 5",
        covered_by="the scheduler offers no such GPU",
    ),
    Mutant(
        "foreign-is-an-alarm",
        "foreign draw on free GPUs does not contradict the books",
        ((distrust, "jump_mw", _nothing_explained),),
        "I9",
    ),
)
