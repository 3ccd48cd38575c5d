"""MIG in the fleet simulation: what operators divide, and what only its truth sees."""

import random

import pytest

from wattline_agent.core.ports import LaunchContext
from wattline_protocol.ids import (
    AttemptNo,
    GpuIndex,
    JobId,
    NodeId,
    TaskNo,
    TaskRef,
    UnixTime,
    UserName,
)
from wattline_protocol.job.spec import JobSpec, Resources
from wattline_protocol.wire.task_order import TaskOrder
from wattline_scheduler.records import AttemptRecord, JobRecord
from wattline_sim.fleet.disk import key_of
from wattline_sim.fleet.hardware import IDLE_MW, SIM_DEMAND_MW, Gpu
from wattline_sim.fleet.machine import Machine
from wattline_sim.fleet.run import Run
from wattline_sim.fleet.story import Story
from wattline_sim.fleet.truth import GivenOther, GivenTwice, Truth
from wattline_sim.fleet.users.mig import (
    LAYOUTS,
    PROFILES,
    Dividing,
    check_devices,
    divide,
    slices_permille,
)
from wattline_sim.fleet.users.scenario import random_site
from wattline_sim.fleet.world import World
from wattline_sim.mig import COMPUTE_SLICES, MEMORY_SLICES

NODE, GPU = NodeId("n0"), GpuIndex(0)
HALVES = ("3g.40gb", "3g.40gb")
CONTEXT = LaunchContext(
    gpu_uuids=(), gpu_memory_bytes=0, checkpoint_root="", lease_until_mono_s=None, node=NODE
)


def host() -> tuple[Machine, Gpu]:
    machine = Machine(World(1), NODE, 2)
    return machine, machine.gpus[GPU]


def ref(job: int) -> TaskRef:
    return TaskRef(JobId(job), TaskNo(0), AttemptNo(1))


def run(machine: Machine, job: int, mig: str = "", *, share: int = 1000, w: int = 475) -> None:
    order = TaskOrder(
        ref=ref(job),
        job_name="j",
        owner="ann",
        kind="batch",
        command=("work",),
        env={SIM_DEMAND_MW: str(w * 1000)},
        gpus=(GPU,),
        launcher="process",
        gpu_share_permille=share,
        mig=mig,
    )
    machine.launch(order, CONTEXT)


def watched(machine: Machine, mig: str = "") -> Truth:
    truth = Truth(random_site(random.Random(1)), {NODE: machine})
    for job in (1, 2, 3):
        spec = JobSpec(name="j", command=("work",), resources=Resources(mig=mig))
        truth.saw_job(JobRecord(JobId(job), "", UserName("ann"), UnixTime(0.0), spec, "RUNNING"))
    return truth


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_is_what_a_gpu_can_be_divided_into(layout: tuple[str, ...]) -> None:
    machine, gpu = host()
    divide(machine, gpu, layout)
    assert tuple(one.profile for one in gpu.mig or ()) == layout
    assert sum(PROFILES[name].slices for name in layout) <= COMPUTE_SLICES
    assert sum(PROFILES[name].memory_slices for name in layout) <= MEMORY_SLICES


def test_a_device_in_use_stays_when_its_gpu_is_divided_anew() -> None:
    machine, gpu = host()
    divide(machine, gpu, HALVES)
    used = (gpu.mig or ())[1]
    run(machine, 1, used.uuid)
    divide(machine, gpu, ("1g.10gb",) * 7)
    assert [one.profile for one in gpu.mig or ()] == ["3g.40gb", *["1g.10gb"] * 4]
    assert (gpu.mig or ())[0] == used
    assert len({one.uuid for one in gpu.mig or ()}) == 5


def test_devices_load_their_gpu_by_their_slices_and_all_together_once() -> None:
    machine, gpu = host()
    divide(machine, gpu, HALVES)
    first, second = gpu.mig or ()
    run(machine, 1, first.uuid)
    part_mw = 400_000 * slices_permille("3g.40gb") // 1000
    assert machine.loads_mw() == {GPU: IDLE_MW + part_mw}
    run(machine, 2, second.uuid)
    assert machine.loads_mw() == {GPU: IDLE_MW + 2 * part_mw}
    assert machine.allowed_mw() == gpu.enforced_mw + IDLE_MW
    assert machine.read(GPU).util_pct is None  # type: ignore[union-attr]  # a reading, not silence


def test_a_task_whose_device_is_gone_has_nothing_and_ends() -> None:
    machine, gpu = host()
    divide(machine, gpu, HALVES)
    run(machine, 1, "MIG-of-yesterday")
    assert machine.given() == {GPU: 0}
    assert machine.loads_mw() == {GPU: IDLE_MW}
    machine.world.run_until(1.0)
    seen = machine.seen()[0]
    assert (seen.phase, seen.exit is not None and seen.exit.code) == ("ended", 1)


def test_a_device_twice_at_a_time_is_seen() -> None:
    machine, gpu = host()
    divide(machine, gpu, HALVES)
    watched(machine, "3g.40gb")
    device = (gpu.mig or ())[0].uuid
    run(machine, 1, device)
    with pytest.raises(GivenTwice, match="MIG devices"):
        run(machine, 2, device)


@pytest.mark.parametrize("share", [1000, 200])
def test_a_gpu_in_mig_mode_given_itself_is_seen(share: int) -> None:
    machine, gpu = host()
    divide(machine, gpu, HALVES)
    watched(machine)
    with pytest.raises(GivenOther, match="in MIG mode"):
        run(machine, 1, share=share)


def test_another_device_than_asked_for_is_seen() -> None:
    machine, gpu = host()
    divide(machine, gpu, HALVES)
    watched(machine, "1g.10gb")
    with pytest.raises(GivenOther, match=r"was given 3g\.40gb"):
        run(machine, 1, (gpu.mig or ())[0].uuid)


def test_a_device_twice_on_record_is_seen_whoever_was_first() -> None:
    machine, gpu = host()
    divide(machine, gpu, HALVES)
    first, second = (
        AttemptRecord(
            JobId(job),
            TaskNo(0),
            AttemptNo(1),
            NODE,
            (GPU,),
            "STARTING",
            UnixTime(0.0),
            mig=(gpu.mig or ())[0],
        )
        for job in (1, 2)
    )
    check_devices({}, [first])
    with pytest.raises(GivenTwice):
        check_devices({key_of(first): first}, [second])
    with pytest.raises(GivenTwice):
        check_devices({}, [first, second])


def test_mig_mode_changes_only_while_a_host_boots_and_comes_back_when_all_is_healed() -> None:
    modes: set[tuple[bool, ...]] = set()
    world = World(3)
    machines = {NodeId(f"n{at}"): Machine(world, NodeId(f"n{at}"), 4) for at in range(2)}
    dividing = next(
        made
        for seed in range(50)
        if (made := Dividing(world, Story(), machines, random.Random(seed)))
        and any(gpu.mig for gpu in machines[NODE].gpus.values())
    )
    first = [gpu.mig is None for gpu in machines[NODE].gpus.values()]
    dividing.begin()
    world.run_until(200.0)
    assert [gpu.mig is None for gpu in machines[NODE].gpus.values()] == first
    for _ in range(20):
        machines[NODE].reboot()
        modes.add(tuple(gpu.mig is None for gpu in machines[NODE].gpus.values()))
    assert len(modes) > 1
    dividing.heal(lambda node: machines[node].reboot())
    assert [gpu.mig is None for gpu in machines[NODE].gpus.values()] == first


def test_sites_give_out_devices_to_jobs_that_ask_for_them() -> None:
    runs = [Run(seed) for seed in range(6)]
    assert all(run.finish().violation is None for run in runs)
    asked = [s.resources.mig for r in runs for s in r.site.accepted.values() if s.resources.mig]
    given = {
        record.mig.profile
        for run in runs
        for record in run.site.scheduler.disk.every(AttemptRecord)
        if record.mig is not None
    }
    assert given <= set(asked)
    assert len(given) > 1
