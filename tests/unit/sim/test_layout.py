"""The state layout and the headers generated from it."""

import ctypes

import pynvml
import pytest

from wattline_sim import state
from wattline_sim.driver import build, headers


def test_every_number_that_is_stored_atomically_is_aligned() -> None:
    for struct in state.STRUCTS:
        for name, ctype, *_ in struct._fields_:
            if issubclass(ctype, ctypes._SimpleCData):
                assert getattr(struct, name).offset % ctypes.sizeof(ctype) == 0, (struct, name)


def test_no_structure_has_hidden_padding() -> None:
    for struct in state.STRUCTS:
        assert sum(ctypes.sizeof(f[1]) for f in struct._fields_) == ctypes.sizeof(struct), struct


def test_the_state_header_declares_and_asserts_every_field() -> None:
    text = headers.state_header()
    for struct in state.STRUCTS:
        for name, *_ in struct._fields_:
            assert f", {name}) == {getattr(struct, name).offset}," in text
    assert f"sizeof(wl_state) == {ctypes.sizeof(state.State)}" in text
    assert "uint32_t latency_us[6];" in text


def test_the_nvml_header_has_pynvmls_sizes_and_numbers() -> None:
    text = headers.nvml_header()
    for name, cls in headers.NVML_STRUCTS.items():
        assert f"sizeof({name}) == {ctypes.sizeof(cls)}" in text
    assert "#define NVML_ERROR_GPU_IS_LOST 0xf" in text
    assert f"#define NVML_FI_DEV_POWER_INSTANT {pynvml.NVML_FI_DEV_POWER_INSTANT:#x}" in text


def test_a_moved_field_changes_the_header(monkeypatch: pytest.MonkeyPatch) -> None:
    class Moved(ctypes.Structure):
        _fields_ = [("free", ctypes.c_uint64), ("total", ctypes.c_uint64)]

    before = headers.nvml_header()
    monkeypatch.setitem(headers.NVML_STRUCTS, "nvmlMemory_t", Moved)
    after = headers.nvml_header()
    assert "offsetof(nvmlMemory_t, free) == 8" in before
    assert "offsetof(nvmlMemory_t, free) == 0" in after


def test_the_enforced_limit_is_the_lowest_of_card_host_and_bmc() -> None:
    gpu = state.Gpu()
    gpu.identity.limit_max_mw = 700_000
    gpu.setpoints.limit_mw = 600_000
    assert state.enforced_limit_mw(gpu) == 600_000
    gpu.faults.oob_limit_mw = 400_000
    assert state.enforced_limit_mw(gpu) == 400_000
    gpu.setpoints.limit_mw = 300_000
    assert state.enforced_limit_mw(gpu) == 300_000


def test_without_a_compiler_one_line_says_what_to_install(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(build.BuildError) as caught:
        build.library()
    assert "apt-get install gcc libc6-dev" in str(caught.value)
    assert "\n" not in str(caught.value)
