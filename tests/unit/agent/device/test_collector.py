"""The collector's threads over a replayed driver that a test can hold up; events in words."""

import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from support.node.drivers import check_driver
from support.node.replay_driver import ReplayDriver
from wattline_agent.core.ports import DeviceInfo, FastReading, Reading, SlowReading, Stale
from wattline_agent.device.collector import DriverCollector
from wattline_agent.device.events import describe
from wattline_agent.device.recording import RECORDING_VERSION, Recording
from wattline_protocol.ids import GpuIndex

GPUS = 3


def recording() -> Recording:
    infos = tuple(
        DeviceInfo(GpuIndex(i), f"GPU-{i}", "H100", 80 << 30, 200_000, 700_000, 700_000, i != 2, "")
        for i in range(GPUS)
    )
    samples = tuple(
        tuple(
            FastReading(
                GpuIndex(i), 10.0 + n, 90_000 + n, enforced_mw=700_000, host_limit_mw=700_000
            )
            for i in range(GPUS)
        )
        for n in range(2)
    )
    slow = tuple(SlowReading(GpuIndex(i), 10.0) for i in range(GPUS))
    return Recording(RECORDING_VERSION, "580.1", False, infos, samples, slow)


class HeldUp(ReplayDriver):
    """Plays back; calls on the GPUs in `held` wait until `go` is set."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.held: set[int] = set()
        self.go = threading.Event()

    def read(self, index: GpuIndex) -> Reading:
        """Waits first, if held."""
        if index in self.held:
            assert self.go.wait(30)
        return super().read(index)


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[HeldUp]:
    """A driver of three GPUs."""
    path = tmp_path / "recording.json"
    path.write_bytes(msgspec.json.encode(recording()))
    made = HeldUp(path)
    yield made
    made.go.set()


def test_a_busy_worker_is_skipped_and_comes_back(driver: HeldUp) -> None:
    collector = DriverCollector(driver)
    assert all(isinstance(reading, FastReading) for reading in collector.sample(10.0))
    driver.held.add(1)
    for timeout_s in (0.2, 0.01, 0.01):
        readings = collector.sample(timeout_s)
        assert isinstance(readings[1], Stale)
        assert not readings[1].is_lost
        assert readings[1].since_mono_s == 10.0
    caps = collector.apply_caps({GpuIndex(0): 300_000, GpuIndex(1): 300_000}, 10.0)
    assert [(c.enforced_mw, bool(c.error)) for c in caps] == [(300_000, False), (None, True)]
    driver.held.clear()
    driver.go.set()
    while not isinstance(collector.sample(1.0)[1], FastReading):
        pass  # the test's own time limit ends this
    collector.close()


def test_a_reading_that_is_only_late_is_not_reported_as_silence_of_0_s(driver: HeldUp) -> None:
    collector = DriverCollector(driver)
    driver.held.add(1)
    stale = collector.sample(0.0)[1]
    assert isinstance(stale, Stale)
    assert "0.0 s" not in stale.reason
    driver.go.set()
    collector.close()


def test_caps_of_gpus_asked_for_come_back_in_that_order(driver: HeldUp) -> None:
    collector = DriverCollector(driver)
    results = collector.apply_caps({GpuIndex(1): 400_000, GpuIndex(0): 500_000}, 10.0)
    assert [(r.index, r.enforced_mw) for r in results] == [(1, 400_000), (0, 500_000)]
    assert [r.enforced_mw for r in collector.read_caps(10.0)] == [500_000, 400_000, 700_000]
    refused = collector.apply_caps({GpuIndex(2): 300_000}, 10.0)[0]
    assert refused.error == "this GPU cannot be capped"
    collector.close()


def test_a_closed_collector_leaves_no_thread(driver: HeldUp) -> None:
    before = threading.active_count()
    collector = DriverCollector(driver)
    assert threading.active_count() == before + GPUS + 1
    collector.close()
    assert threading.active_count() == before


def test_a_bug_in_a_driver_is_not_taken_for_silence(driver: HeldUp) -> None:
    collector = DriverCollector(driver)

    def broken(index: GpuIndex) -> Reading:
        raise ZeroDivisionError(f"on {index}")

    driver.read = broken  # type: ignore[method-assign]  # a bug, made on purpose
    with pytest.raises(ZeroDivisionError):
        collector.sample(10.0)
    collector.close()


def test_a_replay_conforms(driver: HeldUp) -> None:
    replayed = driver
    replayed._recording = msgspec.structs.replace(
        replayed._recording, gpus=replayed._recording.gpus[:2]
    )
    check_driver(replayed, may_set=True)


@pytest.mark.parametrize(
    ("kind", "code", "expected"),
    [
        (8, 79, ("xid", "XID 79: GPU has fallen off the bus")),
        (8, 1234, ("xid", "XID 1234: see the driver's list of XIDs")),
        (2, 1, ("ecc_double_bit", "double-bit ECC error")),
        (16, 0, ("other", "driver event 0x10")),
    ],
)
def test_events_are_put_in_words(kind: int, code: int, expected: tuple[str, str]) -> None:
    event = describe(GpuIndex(1), kind, code)
    assert (event.kind, event.text) == expected
