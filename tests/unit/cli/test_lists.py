"""Lists as they are printed: selected, exported, streamed, repeated."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.core.list_pages import asked_of, csv_of
from support.core.site_views import NOON, busy_site, event, job, problem
from wattline import exits
from wattline.acts import events as acts
from wattline.client.errors import Unreachable
from wattline.failures import ActFailed
from wattline.lists.list_of import ListOf
from wattline.lists.print_list import print_list
from wattline.lists.request import ListOptions, checked
from wattline.main import run
from wattline.show import events, jobs, nodes, power, problems
from wattline_protocol.wire.event_log import ProblemList

Shown = Callable[..., str]


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Shown:
    """What a list prints of a value, with these options."""

    def of(what: ListOf[Any, Any], value: Any, **options: Any) -> str:
        assert print_list(what, ListOptions(**options), lambda _: value, selects=False) == exits.OK
        return capsys.readouterr().out

    return of


def test_rows_are_selected_and_sorted_before_they_are_shown(shown: Shown) -> None:
    text = shown(nodes.LIST, busy_site().nodes, where="node~gpu and rack=*", sort="-node")
    names = [line.split()[0] for line in text.splitlines()[1:]]
    assert names == sorted((node.id for node in busy_site().nodes), reverse=True)


def test_the_condition_of_the_operators_page_is_one_of_problems(shown: Shown) -> None:
    page = (Path(__file__).parents[3] / "docs/operating.md").read_text(encoding="utf-8")
    (condition,) = re.findall(r"`(kind=[^`]+)`", page)
    assert "Nothing meets the condition." in shown(
        problems.LIST, ProblemList((), 0, 0), where=condition
    )


def test_json_has_the_selected_rows_in_the_value_of_the_verb(shown: Shown) -> None:
    found = ProblemList(
        (
            problem(1, "gpu_hot", "gpu-01", "warning", "90 °C"),
            problem(2, "gpu_lost", "gpu-02", "alarm", "XID 79"),
        ),
        1,
        1,
    )
    value = json.loads(shown(problems.LIST, found, where="level>=alarm", json=True))
    assert [one["subject"] for one in value["problems"]] == ["gpu-02"]
    assert value["open_warnings"] == 1


def test_csv_has_units_raw_numbers_and_no_formulas() -> None:
    one = job(1, "=cmd|' /C calc'!A0", "RUNNING", reason='a "b",\nc', gpus=8)
    running = msgspec.structs.replace(
        one, energy_kwh=1.25, started_unix_s=NOON - 91, running_since_unix_s=NOON - 90.5
    )
    columns = "job,name,elapsed,energy,started,ended,reason"
    header, record = csv_of(jobs.LIST, [running], columns=columns)
    assert header == ["job", "name", "elapsed_s", "energy_kwh", "started", "ended", "reason"]
    assert record[:5] == ["1", "'=cmd|' /C calc'!A0", "90.5", "1.25", "2026-05-28T20:25:09Z"]
    assert record[5:] == ["", 'a "b",\nc']
    _, low = csv_of(power.LIST, busy_site().domains[:1], columns="headroom")
    assert float(low[0]) == busy_site().domains[0].headroom_w


def test_csv_is_read_back_by_others(shown: Shown) -> None:
    one = job(1, "a", "PENDING", reason='says "no", twice\x1b[2J')
    text = shown(jobs.LIST, [one], csv=True, columns="job,reason")
    assert list(csv.reader(io.StringIO(text, newline=""))) == [
        ["job", "reason"],
        ["1", 'says "no", twice␛[2J'],
    ]


def stream() -> Iterator[Any]:
    yield event(1, "one", "info")
    yield event(2, "two", "alarm")
    yield event(3, "three", "warning")


def test_events_come_as_lines_as_rows_and_as_csv(shown: Shown) -> None:
    lines = shown(events.LIST, stream(), where="level>info").splitlines()
    assert [line.split()[0] for line in lines] == ["2", "3"]
    by_level = shown(events.LIST, stream(), sort="-level").splitlines()
    assert [line.split()[0] for line in by_level] == ["2", "3", "1"]
    table = shown(events.LIST, stream(), columns="event,level", sort="-level").splitlines()
    assert [line.split() for line in table[1:]] == [["2", "alarm"], ["3", "warning"], ["1", "info"]]
    assert shown(events.LIST, stream(), columns="event", csv=True).split() == ["event", *"123"]
    rows = shown(events.LIST, stream(), where="event<3", json=True).splitlines()
    assert [json.loads(row)["seq"] for row in rows] == [1, 2]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"where": "stat=pending"}, "--where: no column 'stat'; the nearest is state"),
        ({"columns": "nam"}, "--columns: no column 'nam'; the nearest is name"),
        ({"sort": "-gpu"}, "--sort: no column 'gpu'; the nearest is gpus"),
        ({"csv": True, "json": True}, "--csv and --json exclude each other"),
        ({"columns": "job", "json": True}, "--columns and --json exclude each other"),
        ({"watch_s": 0.1}, "--watch: expected a period from 0.5s to 1h"),
    ],
)
def test_wrong_options_are_refused_before_the_scheduler_is_asked(
    options: dict[str, Any], error: str
) -> None:
    with pytest.raises(ActFailed) as raised:
        checked(jobs.LIST, ListOptions(**options))
    assert error in str(raised.value)
    assert raised.value.status == exits.USAGE


def test_a_wrong_condition_needs_no_scheduler(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["jobs", "--bundle", "none.toml", "--where", "stat=pending"]) == exits.USAGE
    assert "no column 'stat'; the nearest is state" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--sort", "time"], ["--columns", "text"]])
def test_what_follows_without_end_is_neither_sorted_nor_laid_out(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["events", "--bundle", "none.toml", "-f", *options]) == exits.USAGE
    assert "it takes --columns with --csv, and no --sort" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [["cooling", "room", "--units-in-service", "2", "--csv"], ["service", "x", "--sort", "a"]],
    ids=["act", "one"],
)
def test_options_of_lists_are_refused_before_an_act_is_done(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*words, "--bundle", "none.toml"]) == exits.USAGE
    assert (
        "--watch and --wide are options of lists, and this shows no list" in capsys.readouterr().err
    )


class Enough(Exception):
    """Ends a watch."""


def watched(monkeypatch: pytest.MonkeyPatch, answers: list[Any], **options: Any) -> None:
    """Watch until the answers are used up; no time passes."""
    clock = count(NOON, 2.0)
    monkeypatch.setattr("wattline.lists.print_list.time.time", lambda: next(clock))
    monkeypatch.setattr("wattline.lists.print_list.time.sleep", lambda _: None)

    def ask(_: str) -> Any:
        if not answers:
            raise Enough
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    with pytest.raises(Enough):
        print_list(power.LIST, ListOptions(watch_s=2.0, **options), ask, selects=False)


def test_a_watch_appends_in_a_pipe_and_outlives_the_scheduler(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    domains = busy_site().domains[:1]
    away = Unreachable("the scheduler does not answer")
    watched(monkeypatch, [domains, away, domains])
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("DOMAIN") for line in lines) == 2
    assert [line for line in lines if line.endswith("not fresh: the scheduler does not answer")]
    watched(monkeypatch, [domains, away, domains], csv=True, columns="domain,budget")
    out, err = capsys.readouterr()
    header, *records = csv.reader(io.StringIO(out, newline=""))
    assert header == ["at", "domain", "budget_w"]
    assert [record[1] for record in records] == [domains[0].id] * 2
    assert records[0][0] < records[1][0]
    assert err == "not fresh: the scheduler does not answer\n"
    watched(monkeypatch, [domains, away], json=True)
    pictures = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [bool(one["trouble"]) for one in pictures] == [False, True]
    assert pictures[1]["value"][0]["id"] == domains[0].id


class Log:
    """Stands for a client: a log of ten events, of which every third is a warning."""

    def events(self, *, after: int | None = None, newest: int = 0, **_: Any) -> Iterator[Any]:
        levels = {number: "warning" if number % 3 == 0 else "info" for number in range(1, 11)}
        first = after if after is not None else max(0, 10 - newest)
        return (event(number, "x", level) for number, level in levels.items() if number > first)


@pytest.mark.parametrize(
    ("given", "numbers"),
    [
        ({"lines": 2}, [6, 9]),
        ({"lines": 0}, []),
        ({"lines": 1, "after": 3}, [6, 9]),
        ({"lines": 2, "where": ""}, [9, 10]),
    ],
)
def test_the_newest_events_that_meet_a_condition(given: dict[str, Any], numbers: list[int]) -> None:
    asked = {"where": "level=warning", "follow": False, "after": None, "acts": False, **given}
    assert [one.seq for one in acts.events(Log(), **asked)] == numbers  # type: ignore[arg-type]  # a stand-in


def test_columns_that_are_named_stay_where_others_are_omitted() -> None:
    lines = asked_of(jobs.LIST, columns="+energy,+user")
    kept = [c.name for c in lines.columns if c.weight <= 1]
    assert {"energy", "user", "job", "name", "state"} <= set(kept)
    assert [c.weight for c in asked_of(jobs.LIST, columns="energy,job").columns] == [0, 1]
