"""Verdicts on a new version of a data set, and the rules by which they are made."""

import json
from collections.abc import Sequence
from functools import partial
from io import BytesIO
from typing import Any

import msgspec
import numpy as np
import pytest

from wattline_protocol.data.checks import MAX_FINDING_CHARS, DataCheck, Finding, recorded
from wattline_protocol.text.toml_fields import DocumentError
from wattline_runtime.data.columns.check import check
from wattline_runtime.data.columns.diff import difference, file_changes
from wattline_runtime.data.columns.rules import Rules, parse_rules
from wattline_runtime.data.columns.summarize import DataFile, summarize
from wattline_runtime.data.columns.summary import Summary
from wattline_runtime.data.columns.summary_file import BadSummary, decode_summary

ROWS = [{"age": 20 + at % 50, "city": "ab"[at % 2], "ok": True, "empty": None} for at in range(500)]


def of(rows: Sequence[dict[str, Any]], name: str = "people.jsonl") -> Summary:
    data = "\n".join(map(json.dumps, rows)).encode()
    return summarize([DataFile(name, partial(BytesIO, data))])


def changed(**values: Any) -> list[dict[str, Any]]:
    """Every row with other values; a function gets the row's number."""
    return [
        row | {k: v(at) if callable(v) else v for k, v in values.items()}
        for at, row in enumerate(ROWS)
    ]


def without(name: str) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != name} for row in ROWS]


def found(new: Sequence[dict[str, Any]], rules: Rules | None = None) -> list[Finding]:
    verdict = check(of(ROWS), of(new), rules or Rules())
    assert verdict.ok == (not verdict.columns)
    return list(verdict.columns)


def test_an_equal_version_is_ok() -> None:
    assert found(ROWS) == []
    assert found(ROWS * 3) == []


@pytest.mark.parametrize(
    ("new", "name", "rule", "value", "limit"),
    [
        (without("age"), "age", "type", "missing", "integer"),
        (changed(age=None), "age", "type", "null", "integer"),
        (changed(age=str), "age", "type", "text", "integer"),
        (changed(age=lambda at: at + 0.5), "age", "type", "float", "integer"),
        (
            changed(age=lambda at: "?" if at == 7 else 30),
            "age",
            "type",
            "integer or text",
            "integer",
        ),
        (
            changed(age=lambda at: 10**400 if at == 7 else 30),
            *("age", "type"),
            "integer or infinite",
            "integer",
        ),
        (changed(more=1), "more", "type", "integer", "missing"),
        (changed(age=lambda at: None if at < 50 else ROWS[at]["age"]), "age", "nulls", 0.1, 0.01),
        (ROWS[:200], "people.jsonl", "rows", 200, 250),
        (ROWS * 11, "people.jsonl", "rows", 5500, 5000),
        ([], "people.jsonl", "table", "missing", "table"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_rule_that_is_broken(
    new: list[dict[str, Any]], name: str, rule: str, value: Any, limit: Any
) -> None:
    (one,) = [finding for finding in found(new) if finding.rule == rule]
    assert (one.name, one.rule) == (name, rule)
    assert one.value == (value if isinstance(value, str) else pytest.approx(value))
    assert one.limit == (limit if isinstance(limit, str) else pytest.approx(limit))


def test_drift_of_numbers_and_of_categories() -> None:
    moved = found(changed(age=lambda at: 60 + at % 50, city=lambda at: "c" if at % 3 else "a"))
    assert [(one.name, one.rule) for one in moved] == [
        ("age", "range"),
        ("age", "psi"),
        ("city", "psi"),
    ]
    assert moved[0].value == pytest.approx(0.8)
    assert all(float(one.limit) == 0.25 for one in moved if one.rule == "psi")


def test_rules_change_the_verdict() -> None:
    moved = changed(age=lambda at: 22 + at % 50, more=1)
    assert [one.rule for one in found(moved)] == ["range", "type"]
    assert found(moved, Rules(outside=0.05, may_add=True)) == []
    assert found(moved, Rules(ignore=("age", "more"))) == []
    own = parse_rules("may_add = true\n[columns.age]\nrange = 0.05\npsi = 0\nlow = 21\nhigh = 70\n")
    assert [(one.rule, one.limit) for one in found(moved, own)] == [("high", 70), ("psi", 0)]


def test_a_record_has_no_values_of_the_data() -> None:
    rules = parse_rules("[columns.age]\nlow = 30\n")
    (one,) = found(ROWS, rules)
    assert (one.rule, one.value, one.limit) == ("low", 20, 30)
    assert recorded((one,), 1).text == "age: low beyond (limit 30)"


def test_a_finding_without_a_number_reads_as_a_sentence() -> None:
    texts = {
        Finding("x.jsonl", "readable", "line 2 is not valid JSON", "readable").text,
        *(one.text for one in found([])),
        *(one.text for one in found(changed(more=1))),
    }
    assert texts == {
        "cannot be read: line 2 is not valid JSON",
        "table is missing",
        "type integer, was missing",
    }


def test_a_record_is_bounded() -> None:
    many = tuple(Finding(f"c{at}\n" + "x" * 999, "psi", 1.0, 0.25) for at in range(1_000))
    record = recorded(many, 1)
    assert len(record.findings) + record.more == 1_000
    assert 0 < record.chars <= MAX_FINDING_CHARS
    assert msgspec.convert(msgspec.to_builtins(record), DataCheck) == record
    assert "\n" not in record.text


def test_names_say_which_table_where_several_have_the_column() -> None:
    both = Summary({**of(ROWS, "a.jsonl").tables, **of(ROWS, "b.jsonl").tables})
    half = Summary({**of(ROWS, "a.jsonl").tables, **of(without("age"), "b.jsonl").tables})
    assert [one.name for one in check(both, half, Rules()).columns] == ["b.jsonl:age"]


def test_a_file_that_cannot_be_read_is_a_broken_rule() -> None:
    broken = summarize([DataFile("people.jsonl", partial(BytesIO, b"{\n"))])
    assert [(one.name, one.rule) for one in check(of(ROWS), broken, Rules()).columns] == [
        ("people.jsonl", "readable"),
        ("people.jsonl", "table"),
    ]


def test_samples_that_are_small_get_a_limit_that_allows_for_chance() -> None:
    rng = np.random.default_rng(1)
    few = [[{"x": float(x)} for x in rng.normal(size=30)] for _ in range(2)]
    assert check(of(few[0]), of(few[1]), Rules()).ok
    strict = check(of(few[0]), of(few[1]), Rules(psi=0.25)).columns
    assert [(one.rule, one.limit) for one in strict] == [("psi", 0.25)]


def test_wrong_rules_are_named_with_their_lines() -> None:
    with pytest.raises(DocumentError) as caught:
        parse_rules("psi = -1\nrows = [2, 1]\nignored = []\n[columns.age]\nlow = 'x'\n")
    assert [problem.partition(": ")[0] for problem in caught.value.problems] == [
        f"data-checks.toml:{line}" for line in (1, 2, 5, 3)
    ]
    assert "the least, 2, is above the most, 1" in str(caught.value)
    assert "nearest is ignore" in str(caught.value)


def test_a_difference_names_files_columns_and_values() -> None:
    new = [{**row, "city": "c" if row["city"] == "a" else "b"} for row in ROWS]
    files = file_changes({"a": "1", "b": "2", "c": "3"}, {"b": "2", "c": "4", "d": "5"})
    assert files.first == ("- a", "+ d", "~ c")
    shown = difference(of(ROWS), of(new), files)
    assert [table.rows for table in shown.tables] == [(500, 500)]
    first = shown.columns[0]
    assert first.name == "city"
    assert {change.value: change.shares for change in first.values} == {
        "a": (0.5, 0.0),
        "c": (0.0, 0.5),
    }
    age = next(column for column in shown.columns if column.name == "age")
    assert (age.psi, age.low, age.high) == (0, (20, 20), (69, 69))
    assert age.median == pytest.approx((44, 44), abs=1)


def summary_with(column: str, rows: int = 1) -> bytes:
    table = f'{{"rows":{rows},"files":1,"columns":{{"x":{{"kinds":{{}},{column}}}}}}}'
    return f'{{"wattline_summary":1,"tables":{{"t":{table}}},"unreadable":{{}}}}'.encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b'{"wattline_summary":2,"tables":{},"unreadable":{}}',
        summary_with('"shift":0', rows=-1),
        summary_with('"keys":[2,1],"counts":[1,1]'),
        summary_with('"keys":[1,2],"counts":[1]'),
        summary_with('"keys":[1],"counts":[0]'),
        summary_with('"keys":[4],"counts":[1],"shift":61'),
        summary_with('"keys":[-5],"counts":[1],"shift":61'),
        b'{"wattline_summary":1,"tables":{"\xff":{}},"unreadable":{}}',
        summary_with('"buckets":{"256":1}'),
    ],
)
def test_what_is_no_summary_is_refused(data: bytes) -> None:
    assert decode_summary(summary_with('"keys":[1,2],"counts":[1,1]')).tables["t"].rows == 1
    with pytest.raises(BadSummary):
        decode_summary(data)
