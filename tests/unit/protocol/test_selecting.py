"""Which jobs a text names, and what is said of one that names none."""

import pytest

from wattline_protocol.ids import JobId
from wattline_protocol.job.selection import NEWEST, Selection, Span, only, parse_jobs, problem
from wattline_protocol.text.spans import folded


def span(first: int, last: int, *indices: tuple[int, int]) -> Span:
    return Span(JobId(first), JobId(last), indices)


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("8", [span(8, 8)]),
        ("3-5,8", [span(3, 5), span(8, 8)]),
        ("3, 5", [span(3, 3), span(5, 5)]),
        ("last", [span(NEWEST, NEWEST)]),
        ("12.7", [span(12, 12, (7, 7))]),
        ("12.0-31,40", [span(12, 12, (0, 31)), span(40, 40)]),
        ("12[0-31,40],last[2]", [span(12, 12, (0, 31), (40, 40)), span(NEWEST, NEWEST, (2, 2))]),
    ],
)
def test_texts_that_name_jobs(text: str, spans: list[Span]) -> None:
    assert list(parse_jobs(text)) == spans


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'' is not a list of jobs; write for example 8, 3-5,8, 12[0-31], 12.7 or last"),
        ("x", "'x' is not a list of jobs; write for example 8"),
        ("echo", "12.7 or last; `wattline jobs --name echo` lists numbers"),
        ("3-", "is not a list of jobs"),
        ("1,,2", "is not a list of jobs"),
        ("-4", "is not a list of jobs"),
        ("12[", "is not a list of jobs"),
        ("12[a]", "is not a list of jobs"),
        ("last-3", "is not a list of jobs"),
        ("3-5[1]", "is not a list of jobs"),
        ("1" * 40, "is not a list of jobs"),
        ("0", "0: jobs are numbered from 1"),
        ("5-3", "5-3: the range runs backwards; write 3-5"),
        ("12[9-2]", "12[9-2]: the range runs backwards; write 2-9"),
        ("12[1,]", "'' is not an index; write for example 12[0-31,40]"),
        ("1-20001", "at most 10000 jobs by number at a time"),
    ],
)
def test_texts_that_name_none_say_what_would_be_right(text: str, said: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_jobs(text)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("selection", "said"),
    [
        (Selection(), "specify jobs"),
        (Selection(names=("x",) * 101), "at most 100 values"),
        (Selection(users=("x" * 129,)), "at most 128 characters"),
        (Selection((span(1, 2, (0, 0)),)), "has indices of more than one job"),
        (Selection((span(2, 1),)), "runs backwards"),
        (Selection((span(-1, -1),)), "runs backwards"),
        (Selection((span(1, 1, *((0, 0),) * 10_001),)), "at most 10000 ranges"),
    ],
)
def test_selections_of_strange_clients_are_told_apart(selection: Selection, said: str) -> None:
    assert said in problem(selection)


def test_a_sound_selection_has_no_problem() -> None:
    assert not problem(only(JobId(3), 0, 5))
    assert not problem(Selection(queues=("night",)))


def test_names_are_patterns() -> None:
    night = Selection(names=("sweep-*", "r?d"))
    assert night.matches_name("sweep-7")
    assert night.matches_name("red")
    assert not night.matches_name("resweep-7")
    assert Selection().matches_name("anything")


def test_numbers_are_folded_as_they_were_written() -> None:
    assert folded([3, 4, 5, 8]) == "3-5,8"
    assert folded(range(3)) == "0-2"
    assert folded([]) == ""
