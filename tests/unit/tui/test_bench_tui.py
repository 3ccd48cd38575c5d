"""What the benchmark of the terminal makes of times: ends of frames, ages, a first paint."""

import sys
import time

import pytest

from wattline_bench.rig.quantiles import Quantiles, quantiles
from wattline_bench.tui.run import GAP_S, Note, _ages_s, _first_paint_ms, _key_ms
from wattline_bench.tui.window import Window, burst_end

WRITES = [(1.0, 10), (1.005, 10), (1.018, 10), (1.5, 10), (2.0, 10)]


def test_a_frame_ends_where_nothing_follows_for_a_while() -> None:
    assert burst_end(WRITES, 0.9, GAP_S) == 1.018
    assert burst_end(WRITES, 1.01, GAP_S) == 1.018
    assert burst_end(WRITES, 1.02, GAP_S) == 1.5
    assert burst_end(WRITES, 2.1, GAP_S) is None


def test_a_key_without_an_effect_fails_the_measurement() -> None:
    assert _key_ms([0.9, 1.4], WRITES) == pytest.approx([118.0, 100.0])
    with pytest.raises(RuntimeError, match="wrote nothing"):
        _key_ms([2.1], WRITES)


def test_what_is_on_screen_is_oldest_when_the_next_one_replaces_it() -> None:
    notes = [
        Note("arrived", 1.0, 0.9),
        Note("shown", 1.1, 0.9),
        Note("arrived", 2.0, 1.9),
        Note("shown", 2.3, 1.9),
    ]
    assert _ages_s(notes) == pytest.approx([1.4])
    assert _first_paint_ms(notes, [(1.05, 1), (1.06, 1), (1.9, 1)]) == pytest.approx(100.0)
    assert _first_paint_ms(notes, [(1.09, 1), (1.105, 1)]) == pytest.approx(105.0)


def test_quantiles_are_by_nearest_rank() -> None:
    assert quantiles([float(n) for n in range(100, 0, -1)]) == Quantiles(51.0, 100.0)
    assert quantiles([3.0]) == Quantiles(3.0, 3.0)
    with pytest.raises(RuntimeError, match="nothing"):
        quantiles([])


def test_a_window_passes_keys_and_notes_writes() -> None:
    echo = "import sys; print('ready', flush=True); print(sys.stdin.readline()[::-1], flush=True)"
    window = Window([sys.executable, "-c", echo])
    try:
        window.wait_writes(0.0, 30.0)
        pressed_s = window.press(b"abc\n")
        window.wait_writes(pressed_s, 30.0)
        until_s = time.monotonic() + 30.0
        while b"cba" not in window.newest and time.monotonic() < until_s:
            window.wait_writes(pressed_s, 30.0)
        assert b"cba" in window.newest
        assert all(at_s <= time.monotonic() for at_s, _ in window.writes)
    finally:
        window.close()
    assert not window.is_running
