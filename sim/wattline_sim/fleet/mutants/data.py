"""Rules about data sets on nodes, each removed."""

from wattline_agent.core import held_data
from wattline_agent.core.model import NodeState
from wattline_protocol.wire.agents.data_messages import MAX_HELD
from wattline_protocol.wire.task_order import TaskOrder
from wattline_scheduler.core.admission.staging import NodeStage
from wattline_scheduler.core.agents import task_reports
from wattline_scheduler.core.lifecycle.data import data_staging
from wattline_scheduler.core.model.data.node_data import NodeData
from wattline_scheduler.core.model.jobs.job import Attempt
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.state import State
from wattline_sim.fleet.mutants.mutant import Mutant


def _on_its_way(data: NodeData, manifest_sha256: str) -> bool:
    return manifest_sha256 in data.held


def _in_the_cache(data: NodeData, manifest_sha256: str) -> bool:
    held = data.held.get(manifest_sha256)
    return held is not None and held.state == "ready"


def _lacks_nothing(state: NodeState, order: TaskOrder) -> str:
    del state, order
    return ""


def _lacks_by_any_report(state: NodeState, order: TaskOrder) -> str:
    report = state.data.report
    ready = {one.manifest_sha256 for one in report.held if one.state == "ready"} if report else ()
    return next((one.reference for one in order.data if one.manifest_sha256 not in ready), "")


def _none_in_use(state: NodeState) -> tuple[str, ...]:
    del state
    return ()


def _nothing_pinned(state: State, node: NodeNow, wanted: object) -> NodeStage:
    del state, wanted
    listed = frozenset(held.reference for held in node.data.listed or ())
    return NodeStage(node.data.limit_bytes or 0, listed=listed, most=MAX_HELD)


def _keeps_nothing(attempt: Attempt) -> bool:
    del attempt
    return False


MUTANTS = (
    Mutant(
        "output-forgotten",
        "a node forgets an attempt only when its output is published",
        ((task_reports, "keeps_output", _keeps_nothing),),
        "docs/data-sets.md",
    ),
    Mutant(
        "start-before-data",
        "a task starts once all that it reads is on its node",
        ((NodeData, "is_ready", _on_its_way), (held_data, "lacks", _lacks_nothing)),
        "docs/data-cache.md",
        covered_by="the agent refuses a start whose data is not in its cache",
    ),
    Mutant(
        "start-by-an-earlier-list",
        "a copy is examined when it comes onto the list of its node, before a task reads it",
        ((NodeData, "is_ready", _in_the_cache), (held_data, "lacks", _lacks_by_any_report)),
        "docs/data-cache.md",
        covered_by="the agent counts only what was reported of its newest list",
    ),
    Mutant(
        "data-in-use-leaves",
        "what a task reads stays in the cache of its node as long as the task lives",
        (
            (held_data, "_in_use", _none_in_use),
            (data_staging, "_pinned", _nothing_pinned),
        ),
        "docs/data-cache.md",
        covered_by="the scheduler lists what running work reads",
    ),
)
