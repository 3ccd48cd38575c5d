"""MIG devices of the simulated driver, through unmodified pynvml."""

from collections.abc import Iterator
from pathlib import Path

import pynvml as nvml
import pytest

from support.node.simnode import VirtualNode, client, make_node, virtual
from wattline_sim import control
from wattline_sim.holders import HolderProcess, HolderTable, claim_of


@pytest.fixture
def node(tmp_path: Path) -> Iterator[VirtualNode]:
    with virtual(make_node(tmp_path / "n", gpus=2)) as stepped:
        yield stepped


def test_mig_devices_are_there_once_an_operator_made_them(node: VirtualNode) -> None:
    control.partition(node.node.path, 1, ["3g.40gb", "1g.10gb"])
    code = """
h = gpu(1)
answer([N.nvmlDeviceGetMigMode(h), N.nvmlDeviceGetMaxMigDeviceCount(h),
        N.nvmlDeviceGetMaxMigDeviceCount(gpu(0)), code(N.nvmlDeviceGetUtilizationRates, h),
        code(N.nvmlDeviceGetProcessUtilization, h, 0)])
answer([code(N.nvmlDeviceGetMigDeviceHandleByIndex, h, n) for n in (0, 1, 2, 6, 7)])
answer(code(N.nvmlDeviceGetMigDeviceHandleByIndex, gpu(0), 0))
m = N.nvmlDeviceGetMigDeviceHandleByIndex(h, 0)
made = N.nvmlDeviceGetAttributes(m)
answer([N.nvmlDeviceGetName(m), N.nvmlDeviceGetUUID(m)[:4], made.computeInstanceSliceCount,
        made.memorySizeMB, N.nvmlDeviceGetMemoryInfo(m).total >> 20,
        N.nvmlDeviceGetGpuInstanceId(m), N.nvmlDeviceGetComputeInstanceId(m)])
answer([N.nvmlDeviceGetIndex(N.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(m)),
        N.nvmlDeviceGetIndex(N.nvmlDeviceGetHandleByUUID(N.nvmlDeviceGetUUID(m))),
        N.nvmlDeviceIsMigDeviceHandle(m).value, N.nvmlDeviceIsMigDeviceHandle(h).value])
answer([code(read, m) for read in (N.nvmlDeviceGetPowerUsage, N.nvmlDeviceGetUtilizationRates,
        N.nvmlDeviceGetPowerManagementLimit, N.nvmlDeviceGetSerial)])
answer([code(N.nvmlDeviceGetAttributes, h), code(N.nvmlDeviceGetGpuInstanceId, h)])
"""
    mode, handles, off, made, found, of_mig, of_gpu = client(node.node, code)
    assert mode == [[1, 1], 7, 0, nvml.NVML_ERROR_NOT_SUPPORTED, nvml.NVML_ERROR_NOT_SUPPORTED]
    assert handles == [0, 0] + [nvml.NVML_ERROR_NOT_FOUND] * 2 + [nvml.NVML_ERROR_INVALID_ARGUMENT]
    assert off == nvml.NVML_ERROR_NOT_SUPPORTED
    assert made == ["NVIDIA H100 80GB HBM3 MIG 3g.40gb", "MIG-", 3, 40_779, 40_779, 1, 0]
    assert found == [1, 0, 1, 0]
    assert of_mig == [nvml.NVML_ERROR_NOT_SUPPORTED] * 4
    assert of_gpu == [nvml.NVML_ERROR_NOT_SUPPORTED] * 2
    control.partition(node.node.path, 1, None)
    (again,) = client(node.node, "answer([N.nvmlDeviceGetMigMode(gpu(1)), code(gpu, 1)])")
    assert again == [[0, 0], 0]


def test_a_process_in_a_mig_device_is_shown_there(node: VirtualNode) -> None:
    control.partition(node.node.path, 0, ["3g.40gb", "3g.40gb"])
    (first, second) = node.served.migs()
    table = HolderTable()
    claim = claim_of({"CUDA_VISIBLE_DEVICES": second}, 0, node.served.uuids, node.served.migs())
    assert claim is not None
    held = table.update([HolderProcess(41, 1, 41, 1, 500, True, 1, claim)], 1.0)
    node.served.set_holds({gpu: hold for (_, gpu), hold in held.items()}, 1)
    node.advance(1)
    code = f"""
h, first, second = gpu(0), *map(N.nvmlDeviceGetHandleByUUID, ({first!r}, {second!r}))
answer([[p.gpuInstanceId for p in N.nvmlDeviceGetComputeRunningProcesses(x)]
        for x in (h, first, second)])
used = [N.nvmlDeviceGetMemoryInfo(x, N.nvmlMemory_v2).used for x in (h, first, second)]
answer([used[0] == used[2] > 0, used[1]])
"""
    assert client(node.node, code) == [[[2], [], [2]], [True, 0]]


@pytest.mark.parametrize(
    ("gpu", "profiles", "words"),
    [
        (0, ["9g.99gb"], "it has 1g.10gb, 1g.20gb, 2g.20gb, 3g.40gb, 4g.40gb, 7g.80gb"),
        (0, ["4g.40gb", "4g.40gb"], "more than 7 compute slices"),
        (0, ["3g.40gb", "3g.40gb", "1g.10gb"], "more than 8 memory slices"),
    ],
)
def test_what_a_gpu_cannot_be_divided_into_is_refused(
    node: VirtualNode, gpu: int, profiles: list[str], words: str
) -> None:
    with pytest.raises(control.ControlError, match=words):
        control.partition(node.node.path, gpu, profiles)
