"""The truth record, the sysfs tree and the profiles by name."""

from pathlib import Path

import pytest

from wattline_sim import truth
from wattline_sim.host import NodeSample
from wattline_sim.profiles import (
    GPU_MODELS,
    GpuModel,
    UnknownNameError,
    gpu_model,
    host_model,
    load_profile,
    nameplate_w,
)
from wattline_sim.sysfs import RAPL_RANGE_UJ, SysfsTree
from wattline_sim.truth import TruthSample, TruthWriter


def sample(second: int) -> TruthSample:
    return TruthSample(float(second), 3000.5, (100.0, 200.0), (700_000, 300_000), (1, 4))


def test_truth_comes_back_as_written(tmp_path: Path) -> None:
    writer = TruthWriter(tmp_path / "truth", 2)
    for second in range(5):
        writer.append(sample(second))
    assert list(truth.read(tmp_path)) == [sample(second) for second in range(5)]
    writer.close()


def test_a_node_that_recorded_nothing_has_no_samples(tmp_path: Path) -> None:
    assert list(truth.read(tmp_path)) == []


def test_a_half_written_record_is_left_out_and_then_trimmed(tmp_path: Path) -> None:
    writer = TruthWriter(tmp_path / "truth", 2)
    writer.append(sample(1))
    writer.close()
    with (tmp_path / "truth").open("ab") as file:
        file.write(b"torn")
    assert list(truth.read(tmp_path)) == [sample(1)]
    again = TruthWriter(tmp_path / "truth", 2)
    again.append(sample(2))
    again.close()
    assert list(truth.read(tmp_path)) == [sample(1), sample(2)]


def test_a_full_record_is_kept_once_and_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(truth, "SIZE_MAX", 150)
    writer = TruthWriter(tmp_path / "truth", 2)
    for second in range(7):
        writer.append(sample(second))
    writer.close()
    seconds = [s.monotonic_s for s in truth.read(tmp_path)]
    assert seconds == list(range(int(seconds[0]), 7))
    assert (tmp_path / "truth").stat().st_size < 250


def test_another_file_is_not_taken_for_truth(tmp_path: Path) -> None:
    (tmp_path / "truth").write_bytes(b"x" * 64)
    with pytest.raises(truth.TruthError, match="not a truth record"):
        list(truth.read(tmp_path))


def number(root: Path, relative: str) -> int:
    return int((root / relative).read_text())


def test_sysfs_reads_as_the_kernels_and_rapl_wraps(tmp_path: Path) -> None:
    tree = SysfsTree(tmp_path)
    tree.write_energy(NodeSample(cpu_energy_uj=2 * RAPL_RANGE_UJ + 2000))
    tree.write_sensors(4321.5, 25.25, 0.5)
    zone = "class/powercap/intel-rapl:1"
    assert number(tmp_path, f"{zone}/max_energy_range_uj") == RAPL_RANGE_UJ
    assert number(tmp_path, f"{zone}/energy_uj") == 999
    assert (tmp_path / zone / "name").read_text() == "package-1\n"
    assert (tmp_path / "class/hwmon/hwmon0/name").read_text() == "power_meter\n"
    assert number(tmp_path, "class/hwmon/hwmon0/power1_average") == 4_321_500_000
    assert number(tmp_path, "class/hwmon/hwmon1/temp1_input") == 25_250
    assert number(tmp_path, "class/hwmon/hwmon1/fan6_input") == 8000
    tree.close()


def test_an_open_descriptor_sees_shorter_numbers_whole(tmp_path: Path) -> None:
    tree = SysfsTree(tmp_path)
    with (tmp_path / "class/hwmon/hwmon0/power1_average").open() as file:
        for watts in (9999.0, 12.0, 100.0):
            tree.write_sensors(watts, 24.0, 0.3)
            file.seek(0)
            assert int(file.read()) == watts * 1e6
    tree.close()


def test_a_driver_reload_makes_a_new_module_and_a_restart_does_not(tmp_path: Path) -> None:
    tree = SysfsTree(tmp_path)
    module = tmp_path / "module" / "nvidia"
    first = module.stat().st_ino
    tree.close()
    again = SysfsTree(tmp_path)
    assert module.stat().st_ino == first
    again.reload_driver_module()
    assert module.stat().st_ino != first
    assert (module / "initstate").read_text() == "live\n"
    again.close()


def test_unknown_names_say_which_exist() -> None:
    with pytest.raises(UnknownNameError, match="h100, a100, l40s, b200, a40, v100"):
        gpu_model("k80")
    with pytest.raises(UnknownNameError, match="training-hot"):
        load_profile("training")


@pytest.mark.parametrize("model", GPU_MODELS.values(), ids=GPU_MODELS)
def test_the_nameplate_covers_the_worst_case(model: GpuModel) -> None:
    host = host_model(model, 8)
    assert nameplate_w(model, 8) * host.lowest_efficiency == pytest.approx(
        host.worst_non_gpu_w + 8 * model.limit_max_w
    )
    assert model.idle_w < model.limit_min_w
    assert model.gpu_max_c < model.slowdown_c < model.shutdown_c
