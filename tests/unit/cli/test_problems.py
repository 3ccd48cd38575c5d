"""Problems on the command line, and the page that explains them."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from support.core.list_pages import page_of
from support.core.site_views import problem, troubled_site
from wattline.problempage import page
from wattline.show.problems import LIST
from wattline.verbs.catalogue import CATALOGUE
from wattline_protocol.wire.event_log import ProblemList
from wattline_protocol.wire.problem_kinds import KINDS, ProblemKind


def shown(found: ProblemList) -> str:
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(page_of(LIST, found))
    return console.export_text()


def test_worst_first_with_what_to_do() -> None:
    text = shown(ProblemList(troubled_site().problems, 1, 1))
    assert text.index("meter_stale") < text.index("gpu_lost")
    assert "gives no value for 12 s" in text
    assert "Check the meter's command or URL" in text


def test_a_list_that_was_cut_says_how_many_there_are() -> None:
    assert "1 alarm, 7 warnings open" in shown(ProblemList(troubled_site().problems, 1, 7, True))


def test_nothing_is_wrong() -> None:
    assert shown(ProblemList((), 0, 0)).strip() == "No open problems."


def test_a_kind_of_a_newer_scheduler_is_shown_without_advice() -> None:
    one = problem(1, "unheard_of", "a1", "alarm", "text")
    assert "unheard_of" in shown(ProblemList((one,), 1, 0))


def test_the_page_is_current() -> None:
    path = Path(__file__).parents[3] / "docs/problems.md"
    assert path.read_text(encoding="utf-8") == page(), "run `make docs`"


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: str(kind.name))
def test_remedies_name_verbs_that_there_are(kind: ProblemKind) -> None:
    verbs = sorted((verb.name for verb in CATALOGUE), key=len, reverse=True)
    for said in re.findall(r"`wattline ([^`]*)`", kind.remedy):
        assert any(said.startswith(verb) for verb in verbs), said
