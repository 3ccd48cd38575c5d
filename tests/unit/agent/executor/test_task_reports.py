"""Reports of the task library in the metrics file: the newest valid one counts."""

import json
from pathlib import Path

import pytest

from wattline_agent.executor.metrics import MAX_LINES_PER_LOOK, MetricsTail
from wattline_protocol.ids import UnixTime
from wattline_protocol.wire.agent_messages import SavedCheckpoint

SAVED = SavedCheckpoint(step=12, bytes=4096, save_s=1.5, unix_s=UnixTime(1_700_000_000.0))


def checkpoint(**changes: object) -> str:
    values = {"step": 12, "bytes": 4096, "save_s": 1.5, "unix_s": 1_700_000_000.0, **changes}
    return json.dumps({"wattline": "checkpoint", **values}) + "\n"


def read(path: Path, text: str) -> MetricsTail:
    path.write_text(text)
    tail = MetricsTail(str(path))
    tail.poll()
    return tail


def test_the_newest_checkpoint_is_found(tmp_path: Path) -> None:
    tail = read(tmp_path / "m", checkpoint(step=3) + '{"metrics": {"loss": 1}}\n' + checkpoint())
    assert (tail.checkpoint, tail.latest) == (SAVED, {"loss": 1.0})


def test_it_is_found_behind_more_metrics_than_are_parsed(tmp_path: Path) -> None:
    many = '{"metrics": {"loss": 1}}\n' * (MAX_LINES_PER_LOOK + 10)
    assert read(tmp_path / "m", checkpoint() + many).checkpoint == SAVED


@pytest.mark.parametrize(
    "wrong",
    [
        {"step": -1},
        {"step": "12"},
        {"step": 1 << 70},
        {"bytes": 0.5},
        {"bytes": -1},
        {"save_s": -0.1},
        {"save_s": float("nan")},
        {"unix_s": 1e300},
        {"unix_s": None},
        {"copy_s": []},
    ],
    ids=json.dumps,
)
def test_one_out_of_bounds_is_ignored(tmp_path: Path, wrong: dict[str, object]) -> None:
    assert read(tmp_path / "m", checkpoint() + checkpoint(**wrong)).checkpoint == SAVED
