"""Who holds which simulated GPU, and who of them makes progress."""

import pytest

from wattline_sim.holders import Claim, HolderProcess, HolderTable, claim_of, claimed_devices
from wattline_sim.profiles import LOAD_PROFILES

UUIDS = ["GPU-aaaa1111-0", "GPU-aaaa2222-1", "GPU-bbbb3333-2"]
HOT = LOAD_PROFILES["training-hot"]


def process(
    pid: int,
    *,
    ticks: int,
    parent: int = 1,
    session: int = 100,
    devices: tuple[int, ...] = (0,),
    can_run: bool = True,
    image: int = 7,
    start: int = 50,
    profile: str = "training-hot",
) -> HolderProcess:
    claim = Claim(0, devices, LOAD_PROFILES[profile])
    return HolderProcess(pid, parent, session, start, ticks, can_run, image, claim)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0,2", (0, 2)),
        (" 1 , 0 ", (1, 0)),
        ("GPU-bbbb3333-2,GPU-aaaa1111-0", (2, 0)),
        ("GPU-bbbb", (2,)),
        ("GPU-aaaa", ()),  # ambiguous
        ("0,9,1", (0,)),  # after an unknown device nothing counts
        ("1,1", (1,)),
        ("", ()),
        ("-1", ()),
        ("none", ()),
    ],
)
def test_cuda_visible_devices_is_read_as_cuda_reads_it(
    value: str, expected: tuple[int, ...]
) -> None:
    assert claimed_devices(value, UUIDS) == expected


def test_a_process_without_devices_claims_nothing() -> None:
    assert claim_of({"WATTLINE_SIM_PROFILE": "decode"}, 0, UUIDS) is None


def test_a_worker_of_torchrun_claims_the_device_of_its_rank() -> None:
    env = {"CUDA_VISIBLE_DEVICES": "2,0", "LOCAL_RANK": "1"}
    assert claim_of(env, 3, UUIDS) == Claim(3, (0,), HOT)


def test_an_unknown_profile_counts_as_the_default() -> None:
    env = {"CUDA_VISIBLE_DEVICES": "1", "WATTLINE_SIM_PROFILE": "trainig"}
    assert claim_of(env, 0, UUIDS) == Claim(0, (1,), HOT)


def test_a_new_process_that_computes_is_active_at_its_first_scan() -> None:
    table = HolderTable()
    table.update([], 0.0)
    holds = table.update([process(10, ticks=30)], 0.5)
    assert holds[0, 0].is_active
    assert holds[0, 0].pids == (10,)


def test_what_ran_before_the_first_scan_is_not_taken_for_progress() -> None:
    table = HolderTable()
    assert not table.update([process(10, ticks=5000)], 0.0)[0, 0].is_active
    assert table.update([process(10, ticks=5040)], 0.5)[0, 0].is_active


def test_a_sleeping_process_holds_but_does_not_load_once_the_window_has_passed() -> None:
    table = HolderTable()
    table.update([], 0.0)
    activity = [
        table.update([process(10, ticks=40)], 0.5 * scan)[0, 0].is_active for scan in range(1, 7)
    ]
    assert activity[0]
    assert not activity[-1]
    assert activity == sorted(activity, reverse=True)


def test_a_server_that_merely_polls_is_idle() -> None:
    table = HolderTable()
    table.update([process(10, ticks=100)], 0.0)
    for scan in range(1, 10):
        holds = table.update([process(10, ticks=100 + scan // 2)], scan * 0.5)
        assert not holds[0, 0].is_active


def test_a_stopped_process_loads_nothing_at_once() -> None:
    table = HolderTable()
    table.update([process(10, ticks=10)], 0.0)
    assert table.update([process(10, ticks=60)], 0.5)[0, 0].is_active
    assert not table.update([process(10, ticks=90, can_run=False)], 1.0)[0, 0].is_active


def test_members_of_one_session_add_up() -> None:
    table = HolderTable()
    table.update([], 0.0)
    members = [process(pid, ticks=1, image=pid) for pid in (10, 11, 12)]
    assert table.update(members, 0.5)[0, 0].is_active
    strangers = [process(pid, ticks=1, session=pid) for pid in (20, 21, 22)]
    assert not table.update(strangers, 1.0)[0, 0].is_active


def test_a_reused_pid_starts_afresh() -> None:
    table = HolderTable()
    table.update([process(10, ticks=900)], 0.0)
    assert table.update([process(10, ticks=5, start=77)], 0.5)[0, 0].is_active


def test_the_worker_is_listed_and_neither_its_launcher_nor_its_forked_helper() -> None:
    shell = process(10, ticks=1, image=1)
    worker = process(11, ticks=400, parent=10, session=11, image=2)
    loader = process(12, ticks=90, parent=11, session=11, image=2)
    assert HolderTable().update([shell, worker, loader], 0.0)[0, 0].pids == (11,)


def test_a_child_that_did_next_to_nothing_does_not_displace_its_parent() -> None:
    trainer = process(10, ticks=900, image=1)
    tracker = process(11, ticks=4, parent=10, image=2)
    assert HolderTable().update([trainer, tracker], 0.0)[0, 0].pids[0] == 10


def test_two_jobs_on_one_gpu_show_the_heavier_load_that_runs() -> None:
    table = HolderTable()
    table.update([], 0.0)
    light = process(10, ticks=50, session=10, profile="decode")
    heavy = process(20, ticks=50, session=20, profile="prefill", image=9)
    assert table.update([light, heavy], 0.5)[0, 0].profile.name == "prefill"
    asleep = process(20, ticks=50, session=20, profile="prefill", image=9)
    for scan in range(2, 8):
        light = process(10, ticks=50 * scan, session=10, profile="decode")
        holds = table.update([light, asleep], scan * 0.5)
    assert holds[0, 0].profile.name == "decode"
