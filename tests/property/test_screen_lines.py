"""Lines of the terminal's panels: never wider than the panel, no text acts, no cut is unmarked."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from support.core.site_views import NOON, busy_site, troubled_site
from support.strategies.hostile import HOSTILE, acting, filled
from wattline_protocol.text.visible import visible_line
from wattline_protocol.views.site_views import SiteView
from wattline_tui.render.attention import attention_entries, attention_lines
from wattline_tui.render.fleet import KEYS, cell_by, fleet_lines, overview_line, owners_of, racks_of
from wattline_tui.render.lines import CUT, Line, cut, ends, filled_to, fitted, width_of, with_more
from wattline_tui.render.queue import queue_lines, queued_jobs
from wattline_tui.render.trees import Tree, tree_lines, tree_rows

WIDTHS = st.integers(1, 220)
TEXTS = st.text(max_size=40) | st.just(HOSTILE) | st.just("日本語のドメイン")
SITES = st.sampled_from((busy_site(), troubled_site(), filled(SiteView)))


def panels(site: SiteView, width: int, height: int) -> list[Line]:
    """All lines of the site screen."""
    rows = tree_rows(site.domains, {}, height)
    sparks = {domain.id: (0.1, 0.9) for domain in site.domains}
    racks, owners = racks_of(site.nodes), owners_of(site.jobs)
    found: list[Line] = [*tree_lines(rows, Tree(), sparks, NOON, width, height)]
    for key in KEYS:
        cell = cell_by(key, owners)
        found += [*fleet_lines(racks, cell, width, height), overview_line(racks, key, cell, width)]
    found += attention_lines(attention_entries(site), None, width, height)
    found += queue_lines(queued_jobs(site), None, NOON, width, height)
    return found


@given(SITES, WIDTHS, st.integers(1, 70))
def test_no_panel_is_wider_than_its_place_and_no_text_acts(
    site: SiteView, width: int, height: int
) -> None:
    for line in panels(site, width, height):
        assert width_of(line) <= width
        assert not any(acting(text) for text, _ in line)


@given(TEXTS, st.integers(0, 60))
def test_what_is_cut_is_marked(text: str, width: int) -> None:
    shown = cut(text, width)
    assert cell_len(shown) <= width
    assert shown == visible_line(text) or width == 0 or CUT in shown


@given(st.lists(TEXTS, max_size=5), WIDTHS)
def test_a_line_of_pieces_is_cut_as_a_whole(texts: Sequence[str], width: int) -> None:
    line: Line = tuple((text, "muted" if at % 2 else "") for at, text in enumerate(texts))
    shown = fitted(line, width)
    whole = "".join(map(visible_line, texts))
    assert width_of(shown) <= width
    assert "".join(text for text, _ in shown) == whole or CUT in shown[-1][0]
    assert width_of(filled_to(line, width)) == width
    assert width_of(ends(line, (("12m", ""),), width)) <= width


@given(st.integers(0, 30), st.integers(0, 30), WIDTHS)
def test_rows_out_of_view_are_counted(above: int, below: int, width: int) -> None:
    lines: list[Line] = [(("a domain", ""),), (("another", ""),)]
    shown = ["".join(text for text, _ in one) for one in with_more(lines, above, below, width)]
    assert all(cell_len(text) <= max(width, 8) for text in shown)
    if width > 20:
        assert (f"▲ {above} more" in shown[0]) == (above > 0)
        assert (f"▼ {below} more" in shown[1]) == (below > 0)
