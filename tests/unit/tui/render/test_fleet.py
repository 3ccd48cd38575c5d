"""Racks as cells: marks before figures, layouts that use the space, sums that add up."""

import msgspec
import pytest

from support.core.site_views import busy_site, gpu, node, troubled_site
from wattline_protocol.ids import JobId, NodeId
from wattline_protocol.views.site_views import GpuView, NodeView
from wattline_tui.render.fleet import (
    KEYS,
    Blocks,
    cell_by,
    cells_of,
    fleet_height,
    fleet_lines,
    layout_of,
    overview_line,
    racks_of,
    summary_bar,
    totals,
)
from wattline_tui.render.lines import Piece, width_of


def fleet(nodes: int, per_rack: int) -> list[NodeView]:
    one = node(1, (300.0,) * 8)
    return [
        msgspec.structs.replace(one, id=NodeId(f"n{at:04}"), rack=f"r{at // per_rack:02}")
        for at in range(nodes)
    ]


def drawn(nodes: list[NodeView], width: int, height: int) -> list[str]:
    lines = fleet_lines(racks_of(nodes), cell_by("power", {}), width, height)
    return ["".join(text for text, _ in line) for line in lines]


def test_eight_thousand_gpus_fit_on_one_wide_screen() -> None:
    racks = racks_of(fleet(1_000, 16))
    layout = layout_of(racks, 198, 56)
    assert layout.kind == "dense"
    assert fleet_height(racks, layout) <= 56
    cells = sum(line.count("▒") for line in drawn(fleet(1_000, 16), 198, 56))
    assert cells == 8_000


def test_a_small_fleet_has_its_nodes_apart_and_its_sums() -> None:
    assert drawn(fleet(4, 2), 80, 20) == [
        "r00 ▒▒▒▒▒▒▒▒ ▒▒▒▒▒▒▒▒ 9.15 kW 0 free",
        "r01 ▒▒▒▒▒▒▒▒ ▒▒▒▒▒▒▒▒ 9.15 kW 0 free",
    ]


def test_where_cells_do_not_fit_a_rack_is_summed_up() -> None:
    racks = racks_of(fleet(1_000, 16))
    assert layout_of(racks, 120, 36).kind == "summary"
    shown = drawn(fleet(1_000, 16), 120, 36)
    assert len(shown) == 32
    assert shown[0].startswith("r00 ▒▒▒▒▒▒")
    assert "73.2 kW 0 free" in shown[0]


@pytest.mark.parametrize(
    ("changes", "key", "mark"),
    [
        ({"healthy": False}, "power", "×"),
        ({"reasons": 0x40}, "power", "!"),
        ({"reasons": 0x4}, "power", "▾"),
        ({"reasons": 0x4}, "temperature", "▒"),
        ({"power_w": None}, "power", "?"),
        ({"util_pct": 5}, "utilisation", "·"),
        ({"util_pct": None}, "utilisation", "?"),
        ({"temp_c": 90}, "temperature", "█"),
        ({}, "health", "█"),
        ({}, "owner", "a"),
        ({"job": None}, "owner", "·"),
        ({"job": JobId(77)}, "owner", "?"),
    ],
)
def test_cells(changes: dict[str, object], key: str, mark: str) -> None:
    one = msgspec.structs.replace(gpu(0, 400.0), **changes)
    known = next(name for name in KEYS if name == key)
    assert cell_by(known, {JobId(1): "ada"})(one)[0] == mark


def test_no_figure_of_a_silent_node_counts() -> None:
    silent = troubled_site().nodes[1]
    assert {text for text, _ in cells_of(silent, cell_by("power", {}))} == {"×"}


def test_of_a_site_too_large_to_list_gpus_the_busy_ones_show() -> None:
    bare = msgspec.structs.replace(node(1, (300.0,) * 8), gpus=(), gpus_busy=5)
    assert "".join(text for text, _ in cells_of(bare, cell_by("power", {}))) == "█████···"


def test_sums_add_up() -> None:
    assert totals(racks_of(busy_site().nodes)) == "32 GPUs: 22 busy, 2 idle, 8 drained"
    assert totals([]) == "0 GPUs: 0 busy, 0 idle"
    line = overview_line(racks_of(busy_site().nodes), "power", cell_by("power", {}), 60)
    assert width_of(line) <= 60


def test_a_summary_keeps_the_rarest_mark() -> None:
    lost: Piece = ("×", "alarm")
    usual: Piece = ("▒", "heat-2")
    bar = summary_bar([lost, *[usual] * 500], 10)
    assert "".join(text for text, _ in bar) == "×▒▒▒▒▒▒▒▒▒"
    assert summary_bar([], 10) == []


def test_racks_without_a_change_are_the_same_and_are_drawn_once() -> None:
    nodes = list(fleet(40, 4))
    racks = racks_of(nodes)
    nodes[0] = msgspec.structs.replace(nodes[0], state="draining")
    then = racks_of(nodes, racks)
    assert [rack.name for rack in then] == [rack.name for rack in racks]
    changed = [rack for rack in then if rack not in racks]
    assert [nodes[0] in rack.nodes for rack in changed] == [True]
    assert len(racks_of(nodes[1:], then)[0].nodes) == len(then[0].nodes) - 1

    cells: list[Piece] = []

    def cell(gpu: GpuView) -> Piece:
        cells.append((str(gpu.index), "muted"))
        return cells[-1]

    blocks, layout = Blocks(), layout_of(then, 198, 56)
    counts = []
    for figure in ("power", "power", "health"):
        blocks.begin(figure, layout)
        lines = fleet_lines(then, cell, 198, 56, block=blocks.lines)
        counts.append(len(cells))
        assert lines == fleet_lines(then, lambda gpu: (str(gpu.index), "muted"), 198, 56)
    assert counts == [320, 320, 640]
