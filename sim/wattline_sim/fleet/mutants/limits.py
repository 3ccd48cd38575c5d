"""Rules about limits that a BMC holds below the host's, each removed."""

from wattline_agent.core.ports import CapResult
from wattline_agent.core.power import gpus, steer
from wattline_sim.fleet import machine
from wattline_sim.fleet.mutants.mutant import Mutant


def _as_asked(now: CapResult, cap_mw: int) -> int:
    del now
    return cap_mw


def _any_cap(gpu: gpus.Gpu, cap_mw: int) -> int:
    del gpu
    return cap_mw


MUTANTS = (
    Mutant(
        "write-above-held",
        "no write is above a limit in force that is not the host's",
        ((machine, "to_write", _as_asked), (steer, "within_ceiling", _any_cap)),
        "quirks of hardware",
        covered_by="a limit that a BMC was seen to hold is remembered",
    ),
    Mutant(
        "forgotten-ceiling",
        "no later cap exceeds a limit that a BMC was seen to hold",
        ((steer, "within_ceiling", _any_cap),),
        "quirks of hardware",
    ),
)
