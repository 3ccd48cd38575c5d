"""Host sensors over fixture trees: what is measured, what is not there, what is refused."""

import os
import resource
from pathlib import Path

import pytest

from wattline_agent.host import hwmon, open_sensors, rapl
from wattline_agent.host.hwmon import HwmonSensors
from wattline_agent.host.rapl import RaplMeter, used_uj
from wattline_agent.host.sensors import SysfsSensors, modelled_mw

RANGE_UJ = 262_143_328_850


def put(root: Path, relative: str, text: object) -> Path:
    path = root / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")
    return path


def zone(root: Path, name: str, kind: str, energy_uj: int) -> Path:
    folder = f"class/powercap/{name}"
    put(root, f"{folder}/name", kind)
    put(root, f"{folder}/max_energy_range_uj", RANGE_UJ)
    return put(root, f"{folder}/energy_uj", energy_uj)


def test_packages_and_dram_are_added_but_nothing_twice(tmp_path: Path) -> None:
    files = {
        name: zone(tmp_path, name, kind, 0)
        for name, kind in {
            "intel-rapl:0": "package-0",
            "intel-rapl:1": "package-1",
            "intel-rapl:0:0": "core",
            "intel-rapl:0:1": "dram",
            "intel-rapl:2": "psys",
        }.items()
    }
    meter = RaplMeter(tmp_path)
    assert meter.read_mw(10.0) is None
    for file in files.values():
        file.write_text("100000000\n")
    assert meter.read_mw(12.0) == 3 * 50_000
    meter.close()


def test_a_counter_that_wraps_goes_on_counting(tmp_path: Path) -> None:
    file = zone(tmp_path, "intel-rapl:0", "package-0", RANGE_UJ - 40_000_000)
    meter = RaplMeter(tmp_path)
    meter.read_mw(0.0)
    file.write_text("59999999\n")
    assert meter.read_mw(1.0) == 100_000
    meter.close()


def test_wrap_arithmetic_at_its_edges() -> None:
    assert used_uj(5, 5, 100) == 0
    assert used_uj(100, 0, 100) == 1
    assert used_uj(0, 100, 100) == 100


def test_too_long_or_no_time_between_readings_says_nothing(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 0)
    meter = RaplMeter(tmp_path)
    meter.read_mw(0.0)
    assert meter.read_mw(0.0) is None
    assert meter.read_mw(rapl.MAX_INTERVAL_S + 1) is None
    assert meter.read_mw(rapl.MAX_INTERVAL_S + 2) == 0
    meter.close()


def test_no_permission_means_not_available(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 0)
    really_open = os.open

    def refuse(path: str | os.PathLike[str], flags: int, mode: int = 0o777) -> int:
        if os.fspath(path).endswith("energy_uj"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return really_open(path, flags, mode)

    monkeypatch.setattr(os, "open", refuse)
    meter = RaplMeter(tmp_path)
    assert [meter.read_mw(0.0), meter.read_mw(1.0)] == [None, None]


def meter_tree(root: Path, microwatts: object, inlet_mc: object = 24_500) -> None:
    put(root, "class/hwmon/hwmon0/name", "power_meter")
    put(root, "class/hwmon/hwmon0/power1_average", microwatts)
    put(root, "class/hwmon/hwmon3/name", "chassis")
    put(root, "class/hwmon/hwmon3/temp1_label", "CPU 0")
    put(root, "class/hwmon/hwmon3/temp1_input", 70_000)
    put(root, "class/hwmon/hwmon3/temp2_label", "System Inlet")
    put(root, "class/hwmon/hwmon3/temp2_input", inlet_mc)


def test_the_power_meter_gives_node_and_non_gpu_power(tmp_path: Path) -> None:
    meter_tree(tmp_path, 2_000_000_000)
    sensors = open_sensors(tmp_path)
    reading = sensors.read(gpu_mw=1_500_000, psu_efficiency_permille=940)
    assert (reading.source, reading.node_mw, reading.non_gpu_mw) == ("hwmon", 2_000_000, 380_000)
    assert reading.inlet_c == 24.5
    assert reading.memory_used_bytes > 0
    sensors.close()


@pytest.mark.parametrize("nonsense", [0, -5, "", "n/a", hwmon.MAX_POWER_MW * 1000 + 1000])
def test_a_meter_that_reads_nonsense_is_not_believed(tmp_path: Path, nonsense: object) -> None:
    meter_tree(tmp_path, nonsense, inlet_mc=125_000)
    sensors = HwmonSensors(tmp_path)
    assert sensors.node_mw() is None
    assert sensors.inlet_c() is None
    sensors.close()


def test_rapl_alone_is_completed_by_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    clock = iter([100.0, 101.0])
    monkeypatch.setattr("wattline_agent.host.sensors.time.monotonic", lambda: next(clock))
    sensors = SysfsSensors(tmp_path)
    assert sensors.read(0, 1000).source == "model"
    file.write_text("300000000\n")
    reading = sensors.read(gpu_mw=500_000, psu_efficiency_permille=1000)
    assert reading.source == "rapl+model"
    assert (reading.non_gpu_mw, reading.node_mw) == (500_000, 1_000_000)
    sensors.close()


def test_a_host_without_sensors_is_modelled_and_not_measured(tmp_path: Path) -> None:
    sensors = open_sensors(tmp_path / "nothing")
    reading = sensors.read(0, 940)
    assert (reading.source, reading.node_mw, reading.inlet_c) == ("model", None, None)
    assert reading.non_gpu_mw is not None
    assert reading.non_gpu_mw >= modelled_mw(1, 0.0)
    sensors.close()


def test_the_disk_is_that_of_the_tasks(tmp_path: Path) -> None:
    sensors = open_sensors(tmp_path / "nothing", tmp_path)
    reading, disk = sensors.read(0, 940), os.statvfs(tmp_path)
    assert reading.disk_bytes == disk.f_blocks * disk.f_frsize
    assert reading.disk_used_bytes is not None
    assert 0 < reading.disk_used_bytes <= reading.disk_bytes
    sensors.close()


def test_a_file_system_that_is_gone_is_not_measured(tmp_path: Path) -> None:
    sensors = open_sensors(tmp_path / "nothing", tmp_path / "gone")
    reading = sensors.read(0, 940)
    assert (reading.disk_bytes, reading.disk_used_bytes) == (None, None)
    sensors.close()


def test_the_model_grows_with_load() -> None:
    assert modelled_mw(224, 100.0) - modelled_mw(224, 0.0) == 224 * 2_500


def test_without_a_descriptor_for_it_the_last_load_stays(tmp_path: Path) -> None:
    sensors = SysfsSensors(tmp_path)
    before = sensors.read(0, 1000)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        after = sensors.read(0, 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert after.cpu_pct == before.cpu_pct
    assert after.memory_used_bytes == before.memory_used_bytes > 0
