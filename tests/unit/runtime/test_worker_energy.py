"""Which GPUs a worker measures, and how their idle energy is divided among its gateways."""

from dataclasses import dataclass

import pytest

from wattline_runtime.serve.batcher import Key
from wattline_runtime.serve.energy.gpu_counters import GpuCounters, GpuReading, GpuShare, gpus_of
from wattline_runtime.serve.energy.worker_energy import WorkerEnergy

GPU = "GPU-1b2c3d4e-0000-1111-2222-333344445555"
MIG = GPU.replace("GPU", "MIG")


@pytest.mark.parametrize(
    ("devices", "share", "found"),
    [
        (f"{GPU},{GPU}", "1", GpuShare((GPU, GPU), 1000)),
        (GPU, "0.25", GpuShare((GPU,), 250)),
        (MIG, "0.142857", GpuShare((MIG,), 143)),
        ("0,1", "1", GpuShare((), 1000)),
        ("", "0", GpuShare((), 0)),
        (GPU, "nan", GpuShare((GPU,), 1000)),
        (GPU, "inf", GpuShare((GPU,), 1000)),
        (GPU, "-3", GpuShare((GPU,), 0)),
    ],
)
def test_gpus_are_those_that_the_agent_allocated(devices: str, share: str, found: GpuShare) -> None:
    environ = {"CUDA_VISIBLE_DEVICES": devices, "WATTLINE_GPU_SHARE": share}
    assert gpus_of(environ) == found


def test_outside_of_a_task_nothing_is_measured() -> None:
    assert not GpuCounters(gpus_of({})).has_gpus


class Readings(GpuCounters):
    """Counters that the test reads, and its clock."""

    def __init__(self) -> None:
        super().__init__(GpuShare((GPU,)))
        self.due: list[GpuReading] = []
        self.now_s, self.counter_uj = 100.0, 5_000_000

    def take(self) -> list[GpuReading]:
        found, self.due = self.due, []
        return found

    def later(self, seconds: float, grown_uj: int) -> None:
        self.now_s += seconds
        self.counter_uj += grown_uj
        self.due.append(GpuReading(self.counter_uj, self.now_s))


@dataclass
class Connection:
    idle_uj: int | None = None


def test_idle_energy_reaches_gateways_once_and_waits_for_one() -> None:
    readings, first, second = Readings(), Connection(), Connection()
    energy = WorkerEnergy(readings, lambda: readings.now_s)

    def beat(grown_uj: int, *gateways: Connection) -> list[int | None]:
        readings.later(0.5, grown_uj)
        energy.share_idle(gateways, is_loaded=True)
        return [first.idle_uj, second.idle_uj]

    assert beat(0, first) == [None, None], "a counter has to grow first"
    beat(1_000_001)
    assert beat(1_000_000, first, second) == [1_000_000, 1_000_001]
    energy.began("batch", {Key(1, 1): 1, Key(1, 2): 3})
    beat(4_000_000, first)
    energy.ended("batch")
    small, large = energy.take(Key(1, 1)), energy.take(Key(1, 2))
    assert small is not None
    assert large is not None
    assert large == pytest.approx(3 * small, abs=3)
    assert small + large == pytest.approx(4_000_000, rel=0.01)
    assert energy.take(Key(1, 3)) is None
