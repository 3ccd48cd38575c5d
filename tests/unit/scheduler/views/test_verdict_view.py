"""The verdict rests on what was measured, and says so."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattline_protocol.views.diagnosis import Verdict
from wattline_protocol.wire.agent_messages import TaskUsage
from wattline_scheduler.views.verdict_view import MORE_CPUS, MORE_DISK, diagnosis

RUN = TaskUsage(run_s=100.0, gpu_s=200.0, util_gpu_s=118.0, cpu_s=50.0, cpu_capacity_s=200.0)
LINK = {"network_s": 100.0, "network_busy_s": 90.0}
WAITS = "GPUs wait 41 % of the time for input:"
WAITS_LONG = "GPUs wait 99 % of the time for input:"
DISK = {"disk_s": 100.0, "disk_busy_s": 80.0}


@pytest.mark.parametrize(
    ("changes", "verdict", "sentence"),
    [
        (
            {"cpu_s": 199.0, "disk_s": 100.0},
            "input-bound",
            f"{WAITS} 1.99 of 2 CPU cores busy, disk idle; {MORE_CPUS}",
        ),
        (
            DISK,
            "input-bound",
            f"{WAITS} 0.5 of 2 CPU cores busy, disk 80 % busy; {MORE_DISK}",
        ),
        (LINK, "network-bound", "GPUs wait 41 % of the time, and the busiest link is 90 % full"),
        ({"util_gpu_s": 190.0, **DISK}, "compute-bound", "the GPUs work 95 % of the time"),
        ({"cap_bound_gpu_s": 100.0}, "capped", "the power cap slows the GPUs 50 % of the time"),
        (
            {"util_gpu_s": 2.0},
            "idle",
            "GPUs wait 99 % of the time; CPU not busy, disk and network not measured",
        ),
        (
            {"util_gpu_s": 2.0, "disk_s": 100.0, "network_s": 100.0},
            "idle",
            "GPUs wait 99 % of the time; neither CPU, disk nor network is busy",
        ),
        (
            {"util_gpu_s": 2.0, "cpu_s": 200.0},
            "input-bound",
            f"{WAITS_LONG} 2 of 2 CPU cores busy, disk not measured; {MORE_CPUS}",
        ),
        ({}, "mixed", "GPUs wait 41 % of the time; no single cause was measured"),
        ({"gpu_s": 0.0}, "unknown", "too little was measured"),
    ],
    ids=range(10),
)
def test_what_gpus_wait_for_is_named(
    changes: dict[str, float], verdict: Verdict, sentence: str
) -> None:
    found = diagnosis(msgspec.structs.replace(RUN, **changes))
    assert (found.verdict, found.sentence) == (verdict, sentence)


def test_a_stalled_gang_is_hung_whatever_it_used() -> None:
    assert diagnosis(RUN, is_hung=True).verdict == "hung"


def test_a_cap_by_its_own_goal_is_named() -> None:
    capped = msgspec.structs.replace(RUN, cap_bound_gpu_s=RUN.gpu_s)
    assert diagnosis(capped, has_goal=True).sentence.endswith('; its goal is "efficiency"')
    assert "goal" not in diagnosis(capped).sentence
    assert "goal" not in diagnosis(RUN, has_goal=True).sentence


AMOUNTS = st.floats(0, 1e6)
FIELDS = ("run_s", "gpu_s", "util_gpu_s", "cap_bound_gpu_s", "cpu_s", "cpu_capacity_s")


@given(st.builds(TaskUsage, **dict.fromkeys(FIELDS, AMOUNTS)))
def test_shares_are_shares_and_missing_ones_are_none(usage: TaskUsage) -> None:
    shares = msgspec.structs.astuple(diagnosis(usage).shares)
    assert all(share is None or 0.0 <= share <= 1.0 for share in shares)
    assert diagnosis(usage).shares.network is None
