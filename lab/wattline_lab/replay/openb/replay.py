"""A list under one policy, for several seeds, and beside another policy on the same arrivals."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from wattline_lab.replay.openb import policies
from wattline_lab.replay.openb.fleet import Fleet, Workload, classes_of, workload_of
from wattline_lab.replay.openb.lists import ListedNode, ListUnreadable, Pod, read_nodes, read_pods
from wattline_lab.replay.openb.names import parse_policy
from wattline_lab.replay.openb.policies import Policy
from wattline_lab.replay.openb.power import Watts
from wattline_lab.replay.openb.powermodel import PowerModel, read_power_model
from wattline_lab.replay.openb.result import OpenbReport, report_of
from wattline_lab.replay.openb.run import Curve, PolicyMaker, run_seed

POWER_MODEL = "pwr_power_model.csv"
"""Beside the pods, unless another file is named."""


@dataclass(frozen=True, slots=True)
class Lists:
    """What was read."""

    pods: list[Pod]
    nodes: list[ListedNode]
    power_model: PowerModel | None


def read_lists(pods: Path, nodes: Path, power_model: Path | None) -> Lists:
    """The lists, and the power model named or beside the pods. Raises ListUnreadable."""
    beside = pods.parent / POWER_MODEL
    model = power_model or (beside if beside.exists() else None)
    lists = Lists(read_pods(pods), read_nodes(nodes), read_power_model(model) if model else None)
    if not sum(node.gpus for node in lists.nodes):
        raise ListUnreadable(f"{nodes}: no GPUs")
    if not lists.pods:
        raise ListUnreadable(f"{pods}: no pods")
    return lists


def replay(
    lists: Lists,
    policy: str,
    seeds: Sequence[int],
    against: str | None = None,
    progress: Callable[[float], None] = lambda _: None,
) -> OpenbReport:
    """Figures of `policy`; with `against`, of the differences to it, seed by seed.

    Raises ValueError for an unknown policy, ListUnreadable where it needs watts and has none.
    """
    names = [policy] if against is None else [policy, against]
    curves: list[list[Curve]] = []
    for number, name in enumerate(names):
        curves.append([])
        for done, seed in enumerate(seeds):
            progress((number * len(seeds) + done) / (len(names) * len(seeds)))
            curves[-1].append(_run(lists, name, seed))
    has_watts = lists.power_model is not None
    other = None if against is None else (against, curves[1])
    return report_of(policy, seeds, curves[0], other, has_watts=has_watts)


def _run(lists: Lists, policy: str, seed: int) -> Curve:
    make, whole = maker(policy, lists.power_model)
    classes = classes_of(lists.nodes)
    workload = workload_of(lists.pods, lists.nodes, classes, lists.power_model, whole=whole)
    return run_seed(lists.pods, workload, lists.nodes, make, seed, lists.power_model)


def maker(text: str, model: PowerModel | None) -> tuple[PolicyMaker, bool]:
    """The policy of that name, and whether its mix expects tasks that take a whole node."""
    name, power_weight, fragments_weight = parse_policy(text)

    def make(workload: Workload, fleet: Fleet, dice: random.Random) -> Policy:
        match name:
            case "random":
                return policies.anywhere(dice)
            case "fgd":
                return policies.fgd(workload)
            case "wattline":
                return policies.wattline(workload, power_weight)
            case "pwr":
                return policies.pwr(workload, _watts(model, fleet), power_weight, fragments_weight)
            case _:
                return SIMPLE[name]()

    return make, name == "wattline"


SIMPLE: dict[str, Callable[[], Policy]] = {
    "dotprod": policies.dotprod,
    "clustering": policies.clustering,
    "packing": policies.packing,
    "bestfit": policies.bestfit,
}


def _watts(model: PowerModel | None, fleet: Fleet) -> Watts:
    if model is None:
        raise ListUnreadable(f"policy pwr needs a power model: no {POWER_MODEL} beside the pods")
    return Watts(model, fleet)
