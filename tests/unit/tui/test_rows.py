"""Rows of a list: what is shown, in which order, with which cursor and choice. No Textual."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.core.site_views import NOON, busy_site, job
from wattline_protocol.lists.domain_table import domain_table
from wattline_protocol.lists.job_table import job_table
from wattline_protocol.lists.kinds import Reading
from wattline_protocol.lists.table import ordered
from wattline_protocol.views.site_views import JobView
from wattline_tui.listing.names import Matches, folded, natural, nearest_names
from wattline_tui.listing.rows import Rows


def rows_of(*jobs: JobView) -> Rows[JobView]:
    rows = Rows(job_table, lambda one: str(one.id))
    rows.update(jobs, NOON)
    return rows


def numbered(*numbers: int) -> list[JobView]:
    return [job(n, f"j{n}", "RUNNING" if n % 2 else "PENDING", gpus=n % 5) for n in numbers]


PICTURES = st.lists(st.lists(st.integers(1, 30), unique=True, max_size=20), min_size=1, max_size=6)
WHERES = st.sampled_from(["", "state=pending", "gpus>2 and not name=j7", "elapsed>5m", "nodes=x"])
ORDERS = st.sampled_from(["", "gpus", "-gpus,name", "elapsed,-job", "started"])


@given(PICTURES, WHERES, ORDERS)
def test_any_sequence_of_pictures_shows_what_the_command_line_would(
    pictures: list[list[int]], where: str, order: str
) -> None:
    known = dict(enumerate(numbered(*range(1, 31)), 1))
    rows = rows_of()
    rows.select(where)
    rows.sort(order)
    for at, numbers in enumerate(pictures):
        now = NOON + at
        changed = numbers[:2]
        known |= {n: msgspec.structs.replace(known[n], gpus=at) for n in changed}
        jobs = [known[n] for n in numbers]
        rows.update(jobs, now)
        table = job_table(now)
        meets = table.where(where, Reading(now)).matches if where else lambda _: True
        assert rows.shown == ordered(filter(meets, jobs), table.order(order or None))


@given(PICTURES, st.integers(0, 30), st.booleans())
def test_cursor_and_choice_stay_with_their_rows(
    pictures: list[list[int]], at: int, all_of_them: bool
) -> None:
    rows = rows_of(*numbered(*pictures[0]))
    rows.move_to(at)
    if all_of_them:
        rows.choose_all()
    for numbers in pictures[1:]:
        before, chosen = rows.at_cursor, set(rows.chosen)
        rows.update(numbered(*numbers), NOON)
        if before in rows.keys:
            assert rows.at_cursor == before
        assert rows.chosen == chosen & set(rows.keys)
        assert set(rows.picked) <= set(rows.keys)
        assert bool(rows.picked) == bool(numbers)


def test_what_a_filter_hides_is_no_longer_chosen() -> None:
    rows = rows_of(*numbered(1, 2, 3))
    rows.choose_all()
    rows.select("state=pending")
    assert rows.picked == ("2",)
    rows.select("")
    assert rows.picked == ("2",), "an act is never on what was not seen since it was chosen"


def test_a_wrong_condition_changes_nothing() -> None:
    rows = rows_of(*numbered(1, 2, 3))
    rows.select("state=running")
    for wrong in ("stat=running", "state=", "x" * 2_000):
        with pytest.raises(ValueError, match=r"state|value|maximum"):
            rows.select(wrong)
    assert (rows.where_text, rows.keys) == ("state=running", ["1", "3"])
    with pytest.raises(ValueError, match="the nearest is gpus"):
        rows.sort("-gpu")
    assert rows.order_text == ""


def test_a_tree_is_one_where_nothing_else_selects_or_sorts() -> None:
    rows = Rows(domain_table, lambda one: one.id)
    site, r1, r2, room = busy_site().domains
    rows.update((r2, room, r1, site), NOON)
    assert rows.keys == ["room", "site", "rack-r2", "rack-r1"]
    assert rows.depths == [0, 0, 1, 1]
    rows.sort("domain")
    assert (rows.keys[0], rows.depths) == ("rack-r1", [])
    rows.sort("")
    rows.select("kind=power")
    assert (rows.keys, rows.depths) == (["rack-r2", "rack-r1", "site"], [])
    rows.select("")
    assert rows.depths == [0, 0, 1, 1]


def test_unchanged_rows_are_not_computed_again() -> None:
    jobs = numbered(1, 2, 3)
    rows = rows_of(*jobs)
    rows.sort("-gpus")
    calls: list[int] = []
    column, is_reversed = rows.order[0]

    def counted(one: JobView) -> float:
        calls.append(one.id)
        return float(one.gpus)

    object.__setattr__(column, "value", counted)
    rows.update([jobs[0], msgspec.structs.replace(jobs[1], gpus=7), jobs[2]], NOON + 1)
    assert is_reversed
    assert calls == [2]
    assert rows.keys == ["2", "3", "1"]


def test_an_exact_name_comes_before_those_that_begin_with_it_or_contain_it() -> None:
    given = [["Rack-1"], ["gpu-12", ""], ["my gpu-12"], ["gamma pump"], ["gpu-1", "1"]]
    names = [folded(one) for one in given]
    assert nearest_names("gpu-1", names, 10) == Matches((4, 1, 2), 1)
    assert nearest_names("1", names, 10) == Matches((4, 0, 1, 2), 1)
    assert nearest_names("gp", names, 10) == Matches((1, 4, 2, 3), 2)
    assert nearest_names("GP U", names, 2) == Matches((1, 4), 2)
    assert nearest_names("", names, 2) == Matches((0, 1), 5)
    assert nearest_names("zz", names, 2) == Matches((), 0)
    assert nearest_names("11", names, 2) == Matches((), 0), "in one name, not in two"


def test_a_name_that_matches_in_very_many_ways_is_looked_at_once() -> None:
    """With a regular expression, one such name of a job stopped the terminal for good."""
    names = [folded([char * 64]) for char in "ab"] + [folded(["a" * 40 + "-b"])]
    assert nearest_names("a" * 32 + "b", names, 10) == Matches((2,), 1)


def test_numbers_in_names_are_sorted_as_numbers() -> None:
    names = ["gpu-10", "gpu-2", "10", "a", "gpu-2b"]
    assert sorted(names, key=natural) == ["10", "a", "gpu-2", "gpu-2b", "gpu-10"]
