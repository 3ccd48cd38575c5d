"""Recorded requests: what is read, and what scaling makes of them."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from wattline_sim.service.requests import TraceUnusable, read_requests, scaled

HEADER = "arrival_s,context_tokens,generated_tokens"


def trace(folder: Path, minutes: int = 12, name: str = "trace.csv.gz") -> Path:
    """Requests of 100 tokens, more of them in later minutes."""
    lines = [
        f"{60 * minute + 60 * at / (5 + minute)},100,20"
        for minute in range(minutes + 1)
        for at in range(5 + minute)
    ]
    text = "\n".join([HEADER, *lines]).encode()
    path = folder / name
    path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    return path


def test_the_busiest_minute_and_the_mean_are_as_asked(tmp_path: Path) -> None:
    requests = scaled(read_requests(trace(tmp_path)), peak=8_000.0, mean=3_000.0, seed=1)
    minute = (requests.arrival_s // 60.0).astype(np.int64)
    tokens = np.bincount(minute, requests.input_tokens) / 60.0
    assert tokens.max() == pytest.approx(8_000.0, rel=0.02)
    assert tokens.mean() == pytest.approx(3_000.0, rel=0.02)
    assert np.all(np.diff(requests.arrival_s) >= 0.0)


def test_the_order_of_minutes_stays(tmp_path: Path) -> None:
    tokens = scaled(read_requests(trace(tmp_path)), 8_000.0, 3_000.0, 1).by_minute()
    assert np.all(np.diff(tokens) > 0.0)


def test_the_same_seed_gives_the_same_requests(tmp_path: Path) -> None:
    read = read_requests(trace(tmp_path, name="plain.csv"))
    one, again, other = (scaled(read, 8_000.0, 3_000.0, seed) for seed in (1, 1, 2))
    assert np.array_equal(one.arrival_s, again.arrival_s)
    assert not np.array_equal(one.arrival_s[:100], other.arrival_s[:100])


def test_the_lead_in_is_the_first_seconds_once_more(tmp_path: Path) -> None:
    read = read_requests(trace(tmp_path))
    led = read.after_lead(120.0)
    count = int(np.searchsorted(read.arrival_s, 120.0))
    assert np.array_equal(led.arrival_s[:count], read.arrival_s[:count])
    assert np.array_equal(led.arrival_s[count:], read.arrival_s + 120.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no requests"),
        ("arrival_s,tokens,generated_tokens\n0,1,1\n", "no column context_tokens or input_tokens"),
        (f"{HEADER}\n0,many,1\n", "could not convert"),
        (f"{HEADER}\n0,1\n", "float"),
        (f"{HEADER}\n0,0,1\n", "each request needs 1 to 10000000 input tokens"),
        (f"{HEADER}\n0,1e9,1\n", "each request needs 1 to 10000000 input tokens"),
        (f"{HEADER}\n0,nan,1\n", "each request needs 1 to 10000000 input tokens"),
        (f"{HEADER}\n0,1,1\n59,1,1\n", "it needs 10 to 50400 whole minutes"),
        (f"{HEADER}\n0,1,1\n1e15,1,1\n", "it needs 10 to 50400 whole minutes"),
    ],
)
def test_what_is_no_trace_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TraceUnusable, match=said):
        read_requests(path)


def test_a_file_that_is_not_there_or_broken_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.csv.gz"
    broken.write_bytes(b"no gzip")
    for path in (tmp_path / "absent.csv", broken):
        with pytest.raises(TraceUnusable, match=f"cannot read {path}"):
            read_requests(path)


def test_minutes_that_are_all_alike_cannot_be_scaled(tmp_path: Path) -> None:
    lines = [f"{5 * at},100,20" for at in range(150)]
    path = tmp_path / "flat.csv"
    path.write_text("\n".join([HEADER, *lines]), encoding="utf-8")
    with pytest.raises(TraceUnusable, match=r"1\.00 times"):
        scaled(read_requests(path), 8_000.0, 3_000.0, 1)
