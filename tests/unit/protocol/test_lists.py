"""Conditions, columns and order of lists, over jobs."""

from datetime import UTC

import pytest

from support.core.site_views import NOON, job
from wattline_protocol.lists.glob import Glob, escaped, parse_glob
from wattline_protocol.lists.job_table import job_table, names_ended
from wattline_protocol.lists.kinds import Reading
from wattline_protocol.lists.table import ordered
from wattline_protocol.lists.where import MAX_CHARS, MAX_TERMS
from wattline_protocol.views.site_views import JobView

TABLE = job_table(NOON)
READING = Reading(NOON, UTC)
JOBS = (
    job(1, "sweep-a", "RUNNING", nodes=("gpu-01", "gpu-02"), gpus=8, started_unix_s=NOON - 7200),
    job(2, "sweep-b", "PENDING", reason="Watts: 2.1 kW missing", gpus=4, started_unix_s=None),
    job(3, "it's", "FAILED", reason="exit 1", gpus=1, started_unix_s=NOON - 60),
)


def found(text: str) -> list[int]:
    where = TABLE.where(text, READING)
    assert TABLE.where(where.text, Reading(0.0)).text == where.text
    return [int(one.id) for one in JOBS if where.matches(one)]


@pytest.mark.parametrize(
    ("text", "jobs"),
    [
        ("state=pending", [2]),
        ("STATE=Pending", [2]),
        ("state!=pending", [1, 3]),
        ("state=pending and reason~watts", [2]),
        ("reason~'KW MISS'", [2]),
        ("name=sweep-*", [1, 2]),
        ("name!=sweep-*", [3]),
        (r"name=sweep-\*", []),
        ("name='it''s'", [3]),
        ('name="it\'s"', [3]),
        ("reason=''", [1]),
        ("gpus>=4 and gpus<8", [2]),
        ("gpus=8 or gpus=1 and state=failed", [1, 3]),
        ("(gpus=8 or gpus=1) and state=failed", [3]),
        ("not state=failed AND Not gpus=8", [2]),
        ("not (state=failed or gpus=8)", [2]),
        ("not not gpus=8", [1]),
        ("nodes=gpu-02", [1]),
        ("nodes~GPU", [1]),
        ("nodes!=gpu-02", [2, 3]),
        ("priority>=high", []),
        ("priority<=100", [1, 2, 3]),
        ("started=none", [2]),
        ("started!=none and started<1h", [1]),
        ("started>30m", [3]),
        ("not started<1h", [2, 3]),
        ("submitted<'in 1h'", [1, 2, 3]),
        ("energy>=0 and cost>=0USD", [1, 2, 3]),
        ("busy<=100% or busy=none", [1, 2, 3]),
        ("pri>=0", [1, 2, 3]),
        ("state=comp*", []),
        ("state~fail", [3]),
    ],
)
def test_what_a_condition_selects(text: str, jobs: list[int]) -> None:
    assert found(text) == jobs


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "a condition such as state=pending is missing"),
        ("stat=pending", "no column 'stat'; the nearest is state"),
        ("zzz=1", "expected one of job, name, kind"),
        ("state=pendin", "state=pendin: the nearest is PENDING"),
        ("state==pending", "no operator '=='; the nearest is ="),
        ("state && gpus", "no operator '&&'; the nearest is and"),
        ("gpus=1 && gpus=2", "no operator '&&'; the nearest is and"),
        ("!state=failed", "no operator '!'; the nearest is not"),
        ("name!~sweep", "the nearest is ~, with `not` before the column"),
        ("state", "expected an operator after state (= != <= >= < > ~)"),
        ("state=", "expected a value after state=; an empty one is ''"),
        ("state= and gpus>1", "for the text write 'and'"),
        ("reason=a b", "expected `and` or `or` before 'b'; a value with spaces stands in quotes"),
        ("reason='a", "the quote ' is not closed"),
        ("(gpus=1", "a parenthesis is not closed"),
        ("gpus=1)", "a parenthesis is closed that was not opened"),
        ("gpus=1 and", "missing at the end"),
        ("and gpus=1", "expected a column before 'and'"),
        ("'gpus'=1", "expected a column before 'gpus'"),
        ("gpus=many", "gpus=many: expected a number such as 4 or 0.5"),
        ("gpus>1e9", "expected a number"),
        ("gpus=1*", "expected a number"),
        ("gpus~1", "gpus is no text: use = != < <= > >="),
        ("state<failed", "state has no order: use =, != or ~"),
        ("nodes>a", "nodes has no order"),
        ("name>a*", "a value with * takes = or !="),
        ("elapsed>2", 'expected a duration such as "90s"'),
        ("energy>2", 'expected an energy such as "80kWh"'),
        ("started>yesterday", "expected a time such as 2026-12-01T16:00, 16:00 (of today), 2h"),
        ("started>1970-01-01", "expected a time"),
        ("reason='a\x1b[2J'", "a value has a control character"),
        ("name~'\u202e'", "or one that changes the direction"),
        ("gpus=1 " * MAX_CHARS, "characters; the maximum is 1,024"),
        (" or ".join(["gpus=1"] * (MAX_TERMS + 1)), "more than 32 conditions"),
        (" or ".join(["submitted>=1h"] * MAX_TERMS), "once its times are written in full"),
    ],
)
def test_what_is_wrong_is_named_with_what_would_be_right(text: str, error: str) -> None:
    with pytest.raises(ValueError, match=r".+") as raised:
        TABLE.where(text, READING)
    assert error in str(raised.value)


def test_the_text_of_a_condition_means_the_same_later_and_elsewhere() -> None:
    assert TABLE.where("started>2h", READING).text == "started>2026-05-28T18:26:40Z"
    assert TABLE.where("started>'20:00'", READING).text == "started>2026-05-28T20:00:00Z"
    assert TABLE.where("NAME = 'a b' or (name=c)", READING).text == "name='a b' or name=c"


@pytest.mark.parametrize(
    ("text", "is_so"),
    [("state=failed", True), ("state~fail", True), ("state!=failed", False), ("gpus=1", False)],
)
def test_ended_jobs_are_meant_where_their_state_is_named(text: str, is_so: bool) -> None:
    assert names_ended(TABLE.where(text, READING)) == is_so


def test_a_glob_needs_its_parts_in_order_and_apart() -> None:
    assert parse_glob("a*b*").matches("a-b-c")
    assert not parse_glob("ab*ba").matches("aba")
    assert not parse_glob("*ab*ab*").matches("ab")
    assert parse_glob(escaped(r"a\*b")) == Glob((r"a\*b",))


def names(text: str | None) -> list[str]:
    return [column.name for column in TABLE.chosen(text)]


def test_columns_are_named_or_added_and_taken_away() -> None:
    assert names("state,JOB") == ["state", "job"]
    usual = names(None)
    assert names("+account,-reason") == [
        *usual[:4],
        "account",
        *(name for name in usual[4:] if name != "reason"),
    ]
    for text, error in (
        ("job,+account", "either names alone, or each with + or -"),
        ("job,,user", "expected columns, as in job,user"),
        ("accont", "no column 'accont'; the nearest is account"),
        (",".join(f"-{name}" for name in usual), "no column is left"),
    ):
        with pytest.raises(ValueError, match=r".+") as raised:
            names(text)
        assert error in str(raised.value)


def numbers(text: str) -> list[int]:
    return [int(one.id) for one in ordered(JOBS, TABLE.order(text))]


def test_rows_are_sorted_by_each_column_and_the_unknown_come_last() -> None:
    assert numbers("-gpus") == [1, 2, 3]
    assert numbers("user,gpus") == [3, 2, 1]
    assert numbers("started") == [1, 3, 2]
    assert numbers("-started") == [3, 1, 2]


def test_an_ordered_row_keeps_its_place_among_equals() -> None:
    rows: list[JobView] = ordered(reversed(JOBS), TABLE.order("-user"))
    assert [int(one.id) for one in rows] == [3, 2, 1]
