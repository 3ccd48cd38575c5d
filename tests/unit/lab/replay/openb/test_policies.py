"""Scores counted by hand."""

import random
from pathlib import Path

import numpy as np
import pytest

from support.strategies.openb_lists import write_power_model
from wattline_lab.replay.openb import policies
from wattline_lab.replay.openb.fleet import Fleet, Task, Workload, classes_of, workload_of
from wattline_lab.replay.openb.lists import ListedNode, Pod
from wattline_lab.replay.openb.policies import Policy
from wattline_lab.replay.openb.power import Watts
from wattline_lab.replay.openb.powermodel import read_power_model
from wattline_protocol.site.model import Weights
from wattline_scheduler.plan.model.task_request import needed_mw
from wattline_scheduler.plan.search.rank import node_cost
from wattline_scheduler.power.topology.matrix import Floats

ANY: frozenset[str] = frozenset()
NODES = [ListedNode(32_000, 65_536, 2, "T4"), ListedNode(96_000, 393_216, 8, "G2")]
PODS = [
    Pod(4_000, 1024, 1, 500, ANY),
    Pod(8_000, 1024, 1, 1000, ANY),
    Pod(8_000, 1024, 0, 0, ANY),
    Pod(16_000, 1024, 2, 1000, frozenset({"G2"})),
]


def setting() -> tuple[Fleet, Workload]:
    classes = classes_of(NODES)
    return Fleet(NODES, classes), workload_of(PODS, NODES, classes, whole=False)


def score(policy: Policy, fleet: Fleet, task: Task) -> list[float]:
    return [float(s) for s in policy.score(fleet, task, np.arange(len(NODES)))[0]]


def test_bestfit() -> None:
    fleet, workload = setting()
    # 100 (1 - (28/128 + 1.5/8) / 2) = 79.7; 100 (1 - (92/128 + 7.5/8) / 2) = 17.2
    assert score(policies.bestfit(), fleet, workload.tasks[0]) == [79.0, 17.0]


def test_dotprod() -> None:
    fleet, workload = setting()
    # 100 (1 - (32 x 8 / 128² + 2 x 1 / 8²) / 2) = 97.7 and
    # 100 (1 - (96 x 8 / 128² + 8 x 1 / 8²) / 2) = 91.4
    assert score(policies.dotprod(), fleet, workload.tasks[1]) == [97.0, 91.0]


def test_clustering_prefers_its_own_kind_then_idle_nodes() -> None:
    fleet, workload = setting()
    share, whole, cpus, _ = workload.tasks
    # Idle: 25, and of 25 more as much as GPUs are taken of 8: 25 x 6 / 8 = 18, and 0.
    assert score(policies.clustering(), fleet, share) == [43.0, 25.0]
    fleet.take(1, whole, [0])
    assert score(policies.clustering(), fleet, share) == [43.0, 3.0]
    assert score(policies.clustering(), fleet, whole) == [43.0, 78.0]
    fleet.take(1, share, [1])
    assert score(policies.clustering(), fleet, whole) == [43.0, 54.0]
    assert score(policies.clustering(), fleet, cpus) == [0.0, 0.0]


def test_packing_prefers_shared_gpus_then_used_nodes() -> None:
    fleet, workload = setting()
    share, whole = workload.tasks[:2]
    assert score(policies.packing(), fleet, share) == [31.0, 25.0]
    fleet.take(1, whole, [0])
    assert score(policies.packing(), fleet, share) == [31.0, 49.0]
    fleet.take(1, share, [1])
    assert score(policies.packing(), fleet, share) == [31.0, 95.0]
    assert score(policies.packing(), fleet, whole) == [31.0, 49.0]
    assert policies.packing().slots(fleet, share, 1) == [1]


def test_fgd_scores_by_growth_of_fragments() -> None:
    fleet, workload = setting()
    share = workload.tasks[0]
    fleet.take(0, share, [0])
    # A quarter of the mix each. Node 0: the other half of its shared GPU was of use to the share
    # alone, so 500 x 3/4 of fragments go away. Node 1: 8000 are lost to the pod without GPUs; then
    # 7500 are, and the half that is left is lost to both that want whole ones.
    assert score(policies.fgd(workload), fleet, share) == [
        float(int(100 / (1 + np.exp(-0.375)))),
        float(int(100 / (1 + np.exp(0.125)))),
    ]
    assert policies.fgd(workload).slots(fleet, share, 0) == [0]


def test_watts_of_nodes_and_what_a_pod_adds(tmp_path: Path) -> None:
    fleet, workload = setting()
    watts = Watts(read_power_model(write_power_model(tmp_path)), fleet)
    share, whole, cpus, pair = workload.tasks
    # 16 cores are one processor, 48 are three.
    assert watts.each_w.tolist() == [2 * 10 + 15, 8 * 30 + 3 * 15]
    both = np.arange(2)
    assert watts.rise_w(share, both).tolist() == [60 + 105, 120 + 105]
    fleet.take(1, share, [3])
    assert watts.after(1) == 35 + 285 + 225
    assert watts.rise_w(share, both).tolist() == [165, 0]
    assert watts.rise_w(whole, both).tolist() == [165, 120]
    assert watts.rise_w(pair, both).tolist() == [120 + 105, 240]
    assert watts.least_slot(share, 1) == 3
    assert watts.least_slot(whole, 0) == 0
    fleet.take(1, cpus, [])
    assert watts.node_w(both).tolist() == [35, 285 + 225]


def test_the_rank_sees_the_watts_of_the_power_model(tmp_path: Path) -> None:
    model = read_power_model(write_power_model(tmp_path))
    classes = classes_of(NODES)
    fleet = Fleet(NODES, classes, model)
    workload = workload_of(PODS, NODES, classes, model, whole=False)
    share, both = workload.tasks[0], np.arange(len(NODES))
    assert needed_mw(fleet.columns, share.ask, both).tolist() == [60_000, 120_000]
    fleet.take(1, share, [3])
    # The other half of a GPU that is shared already adds nothing.
    assert needed_mw(fleet.columns, share.ask, both).tolist() == [60_000, 0]
    priced = node_cost(fleet.columns, share.ask, both, Weights(watts=5.0))
    plain = node_cost(fleet.columns, share.ask, both, Weights())
    assert (priced - plain).tolist() == pytest.approx([5.0 * 0.06, 0.0])


def test_power_is_rescaled_over_the_nodes_that_can_and_mixed(tmp_path: Path) -> None:
    fleet, workload = setting()
    watts = Watts(read_power_model(write_power_model(tmp_path)), fleet)
    terms = np.array([[-165.0, -np.inf, -225.0, -195.0], [40.0, -np.inf, 90.0, 60.0]])
    assert chosen(policies.pwr(workload, watts, 1, 0), terms[:1]) == 0
    # 100, 0 and 50 of power. Once each: 140, 90, 110; fragments three times: 220, 270, 230.
    assert chosen(policies.pwr(workload, watts, 1, 1), terms) == 0
    assert chosen(policies.pwr(workload, watts, 1, 3), terms) == 2


def chosen(policy: Policy, terms: Floats) -> int:
    assert policy.choose is not None
    return policy.choose(terms)


def test_random_takes_nodes_that_can_and_gpus_that_suffice() -> None:
    fleet, workload = setting()
    policy = policies.anywhere(random.Random(1))
    terms = np.array([[0.0, -np.inf, 0.0]])
    assert {chosen(policy, terms) for _ in range(50)} == {0, 2}
    fleet.take(0, workload.tasks[1], [0])
    assert policy.slots(fleet, workload.tasks[0], 0) == [1]


@pytest.mark.parametrize("whole", [True, False])
def test_the_mix_is_the_typical_pods_and_maybe_whole_nodes(whole: bool) -> None:
    classes = classes_of(NODES)
    workload = workload_of(PODS * 5, NODES, classes, whole=whole)
    assert workload.mix.frequency.tolist()[:3] == [0.25] * 3
    assert sorted(workload.mix.gpus.tolist()) == ([1, 1, 2, 2, 8] if whole else [1, 1, 2])
    assert len({task.number for task in workload.tasks}) == 4
