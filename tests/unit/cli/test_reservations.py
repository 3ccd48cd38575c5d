"""Reservations on the command line: what is asked for, what is shown, and slips of the hand."""

import io

import msgspec
import pytest
from rich.console import Console

from support.core.list_pages import page_of
from wattline.acts import reservations as acts
from wattline.failures import ActFailed
from wattline.show import reservations as show
from wattline_protocol.ids import JobId, NodeId, UnixTime
from wattline_protocol.wire.reservations import ReservationView

COURSE = ReservationView(
    name="course",
    state="active",
    start_unix_s=UnixTime(0.0),
    end_unix_s=UnixTime(3600.0),
    start="2026-12-01 08:00 CET",
    end="2026-12-06 08:00 CET",
    accounts=("vision",),
    users=("ada",),
    nodes=(NodeId("a1"), NodeId("a2")),
    gpus=16,
    gpus_free=5,
    jobs=(JobId(7),),
    others=tuple(JobId(n) for n in range(1, 6)),
    requester="olga",
    why="lab week",
)


def text_of(rows: list[ReservationView], width: int = 220) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    with console.capture() as captured:
        console.print(page_of(show.LIST, rows), highlight=False, markup=False)
    return captured.get()


def test_a_reservation_shows_for_whom_what_is_free_and_who_is_still_there() -> None:
    shown = text_of([COURSE])
    for words in ("2026-12-06 08:00 CET", "5/16", "account vision, user ada", "1, 2, 3 and 2 more"):
        assert words in shown
    assert "a1,a2 (lab week)" in shown


def test_maintenance_is_for_nobody_and_a_narrow_terminal_keeps_what_matters() -> None:
    fans = msgspec.structs.replace(COURSE, accounts=(), users=(), jobs=())
    assert fans.grantees == "maintenance"
    shown = text_of([fans], 110)
    assert "STILL THERE" in shown
    assert "BY" not in shown.split()
    assert text_of([]) == "No reservations.\n"


class Recorded:
    """Stands for a client: what it was asked for."""

    def reserve(self, name: str, **asked: object) -> dict[str, object]:
        return {"name": name, **asked}


def asked(**named: object) -> dict[str, object]:
    given: dict[str, object] = dict.fromkeys(("nodes", "label", "gpu_type", "account", "user"), ())
    given |= dict.fromkeys(("count", "gpus", "start", "until", "for_s"))
    given |= {"maintenance": False, "reason": "", "name": "course"}
    return acts.reserve(Recorded(), **{**given, **named})  # type: ignore[arg-type, return-value]  # a stand-in


def test_lists_may_be_repeated_or_cut_by_commas() -> None:
    found = asked(nodes=("a1,a2", "b*"), label=("fabric=ib", "disk=nvme"), user=("ada,eve",))
    assert found["nodes"] == ["a1", "a2", "b*"]
    assert found["users"] == ["ada", "eve"]
    assert found["labels"] == {"fabric": "ib", "disk": "nvme"}
    assert (found["count"], found["until"], found["for_s"]) == (0, "", 0.0)


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ({"label": ("fabric",)}, "expected NAME=VALUE"),
        ({"label": ("fabric=a b",)}, "fabric: "),
        ({"count": 0}, "--count 0: expected at least 1"),
        ({"gpus": -1}, "--gpus -1: expected at least 1"),
    ],
)
def test_what_is_refused_before_it_is_asked(named: dict[str, object], words: str) -> None:
    with pytest.raises(ActFailed, match=words):
        asked(**named)
