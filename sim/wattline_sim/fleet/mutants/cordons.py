"""Rules of the cordon of a GPU, each removed."""

from collections.abc import Iterable, Iterator

from wattline_protocol.ids import GpuIndex, Now, UserName
from wattline_protocol.wire.agent_messages import GpuInfo
from wattline_protocol.wire.client_messages import Answer
from wattline_protocol.wire.nodes.acts import Cordon
from wattline_protocol.wire.nodes.gpu_cordon import GpuCordon
from wattline_scheduler.core.admission import planner_view
from wattline_scheduler.core.agents import replaced_gpus
from wattline_scheduler.core.lifecycle.ending import end_gang
from wattline_scheduler.core.model import devices
from wattline_scheduler.core.model.jobs.job import Ending
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests import gpu_cordons
from wattline_sim.fleet.mutants.mutant import Mutant

SOURCE = "docs/devices.md"

_cordon, _cordoned = gpu_cordons.cordon, devices.cordoned


def _none(node: NodeNow) -> frozenset[GpuIndex]:
    del node
    return frozenset()


def _and_stop(state: State, node: NodeNow, user: UserName, request: Cordon, now: Now) -> Answer:
    answer = _cordon(state, node, user, request, now)
    on = _cordoned(node)
    for attempt in list(node.attempts.values()):
        if on & {*attempt.record.gpus} and not isinstance(attempt.gang.phase, Ending):
            end_gang(state, attempt.gang, "requeued", "its GPU is cordoned", now)
    return answer


def _only_named(
    cordons: Iterable[GpuCordon], before: Iterable[GpuInfo], gpus: Iterable[GpuInfo]
) -> Iterator[GpuCordon | None]:
    """Those whose GPU a Hello names."""
    del before
    named = {gpu.uuid for gpu in gpus}
    yield from (one if one.uuid in named else None for one in cordons)


MUTANTS = (
    Mutant(
        "start-on-cordoned",
        "no task is placed on a cordoned GPU",
        ((planner_view, "cordoned", _none),),
        SOURCE,
    ),
    Mutant(
        "cordon-stops-work",
        "work on a GPU continues when it is cordoned",
        ((gpu_cordons, "cordon", _and_stop),),
        SOURCE,
    ),
    Mutant(
        "cordon-of-named-only",
        "a GPU that cannot be read for a time stays cordoned",
        ((replaced_gpus, "follow_cordons", _only_named),),
        SOURCE,
    ),
)
