"""Parts of the node screen: host, processes, charts, and the lines that each gets."""

import msgspec
import pytest

from support.core.site_views import NOON, busy_site, host_now
from wattline_protocol.ids import GpuIndex, UnixTime
from wattline_protocol.views.history_views import History, Series, Subject
from wattline_protocol.views.host_view import ProcessView
from wattline_protocol.views.site_views import NodeView
from wattline_protocol.wire.gpu_process import GpuProcess
from wattline_tui.render.host import host_lines
from wattline_tui.render.lines import Line
from wattline_tui.render.node_charts import NodeHistory, gpu_chart_lines, node_chart_lines
from wattline_tui.render.node_heights import node_heights
from wattline_tui.render.processes import NONE, process_lines


def node() -> NodeView:
    return msgspec.structs.replace(busy_site().nodes[0], host=host_now())


def texts(lines: list[Line]) -> list[str]:
    return ["".join(text for text, _ in one).rstrip() for one in lines]


def test_the_host_is_side_by_side_where_there_is_room() -> None:
    (wide,) = texts(host_lines(node(), 196))
    for text in ("CPU █▉", "31 % of 128", "812 GiB of 2 TiB", "92 % of 4 TiB, busy 10 %"):
        assert text in wide
    first, second = texts(host_lines(node(), 78))
    assert "memory" in first
    assert second.endswith("18 Gb/s in, 240 Mb/s out")


def test_a_disk_that_is_nearly_full_is_marked() -> None:
    (line,) = host_lines(node(), 196)
    roles = {text.strip(): role for text, role in line}
    assert roles["█████▌"] == "alarm"


def test_a_host_that_does_not_report_says_so() -> None:
    assert texts(host_lines(busy_site().nodes[0], 80)) == ["host not reported"]


def test_foreign_processes_stand_before_those_of_jobs() -> None:
    stranger = GpuProcess(77, "python", "root", 3 << 30)
    first, *others = node().gpus
    gpus = (msgspec.structs.replace(first, foreign=(stranger,)), *others)
    shown = texts(process_lines(msgspec.structs.replace(node(), gpus=gpus), 90, 5))
    assert shown == [
        "GPU 0   ! process 77 (python, user root), 3 GiB: of no job",
        "GPU 0-7 process 4711: 1.0#1 resnet-ablation of ada",
    ]


def test_processes_without_gpus_and_those_that_have_not_started() -> None:
    task = host_now().processes[0]
    several = msgspec.structs.replace(task, gpus=tuple(map(GpuIndex, (5, 0, 1))), pid=None)
    none = msgspec.structs.replace(task, gpus=())
    shown = texts(process_lines(with_processes(several, none), 90, 5))
    assert shown == [
        "GPU 0-1,5 starting: 1.0#1 resnet-ablation of ada",
        "CPU       process 4711: 1.0#1 resnet-ablation of ada",
    ]
    (only,) = texts(process_lines(with_processes(several, none), 90, 1))
    assert only.endswith("▼ 1 more")
    assert texts(process_lines(with_processes(), 90, 1)) == [NONE]


def with_processes(*processes: ProcessView) -> NodeView:
    return msgspec.structs.replace(
        node(), host=msgspec.structs.replace(host_now(), processes=processes)
    )


def history() -> NodeHistory:
    of = node()
    series = [Series(Subject("node", of.id), {"drawn_w": (4e3,), "committed_w": (6e3,)})]
    series += [Series(Subject("gpu", of.id, g.index), {"power_w": (300.0,)}) for g in of.gpus]
    return NodeHistory(History(UnixTime(NOON - 900), 900, tuple(series)))


def gpu_lines(
    of: NodeView, drawn: NodeHistory, selected: GpuIndex | None, size: tuple[int, int]
) -> list[Line]:
    return gpu_chart_lines(of, drawn, selected, NOON, size, with_node=True)


def test_all_gpus_have_charts_where_there_is_room_and_else_the_selected_one() -> None:
    high = texts(gpu_lines(node(), history(), GpuIndex(2), (100, 30)))
    assert sum(one.startswith("GPU ") for one in high) == 8
    low = texts(gpu_lines(node(), history(), GpuIndex(2), (100, 6)))
    assert [one.split()[0] for one in low[:5]] == ["GPU", "cap", "node", "lease", "╵-15m"]
    assert low[0].startswith("GPU 2")
    lowest = texts(gpu_lines(node(), history(), GpuIndex(2), (100, 2)))
    assert len(lowest) == 2
    assert lowest[0].startswith("GPU 2")
    assert lowest[1].endswith("╵now")


def test_a_node_before_its_history_has_charts_without_values() -> None:
    empty = NodeHistory()
    assert len(gpu_lines(node(), empty, None, (80, 2))) == 2
    assert len(node_chart_lines(node(), empty, NOON, (80, 6))) == 6
    bare = msgspec.structs.replace(node(), gpus=())
    assert texts(gpu_lines(bare, empty, None, (80, 3)))[0].startswith("node")


@pytest.mark.parametrize("height", range(12, 80, 5))
@pytest.mark.parametrize("gpus", [0, 1, 8, 16])
@pytest.mark.parametrize("processes", [0, 3, 40])
def test_every_line_of_the_screen_is_used_once(height: int, gpus: int, processes: int) -> None:
    for border in (0, 2):
        for facts in (3, 20):
            of = node_heights(
                height, facts=facts, host=2, gpus=gpus, processes=processes, border=border
            )
            assert of.lines == height
            assert min(of.facts, of.host, of.table) > 0
            assert of.charts == of.processes == 0 or min(of.charts, of.processes) > border


def test_a_small_terminal_shows_eight_gpus_a_chart_and_a_process() -> None:
    of = node_heights(22, facts=4, host=2, gpus=8, processes=3, border=0)
    assert (of.facts, of.host, of.table, of.charts, of.processes) == (6, 2, 11, 2, 1)
