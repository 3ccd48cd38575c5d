"""The GPUs of a node as a list: a row a GPU, and one for each part of it that is shared."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from wattline_protocol.ids import GpuIndex
from wattline_protocol.lists import kinds
from wattline_protocol.lists.column import Column
from wattline_protocol.lists.kinds import Kind
from wattline_protocol.lists.table import Table
from wattline_protocol.views.history_views import HISTORY_S
from wattline_protocol.views.site_views import GpuView, NodeView
from wattline_tui.holders import Holder, held_in_short, holders_of
from wattline_tui.listing.drawn import bar, curve
from wattline_tui.model import View
from wattline_tui.render.timeline import NO_SAMPLES, Samples, Span
from wattline_tui.units import is_hot, reasons

Powers = Mapping[GpuIndex, Samples]
NEAR_C = 5
"""A GPU that is this near to its slowdown is marked."""


@dataclass(frozen=True, slots=True)
class GpuRow:
    """A GPU, or with `part` a part of it."""

    gpu: GpuView
    powers_w: Samples = NO_SAMPLES
    part: int | None = None
    holder: Holder = ("", "")
    """The part, and who has it."""

    @property
    def key(self) -> str:
        """Unique on its node."""
        return f"{self.gpu.index}" if self.part is None else f"{self.gpu.index}/{self.part}"

    @property
    def is_whole(self) -> bool:
        """Whether it is no part."""
        return self.part is None


def gpu_rows(node: NodeView, view: View, powers_w: Powers) -> list[GpuRow]:
    """Each GPU with its recent power, its parts below it."""
    rows: list[GpuRow] = []
    for gpu in node.gpus:
        recent = powers_w.get(gpu.index, NO_SAMPLES)
        rows.append(GpuRow(gpu, recent, None, ("", _holder(gpu, view))))
        parts = enumerate(holders_of(gpu, view))
        rows += [GpuRow(gpu, part=part, holder=holder) for part, holder in parts]
    return rows


def _holder(gpu: GpuView, view: View) -> str:
    """`8812 llm-70b of lina`, or how many parts are held."""
    known = view.job(gpu.job) if gpu.job is not None and gpu.jobs == f"{gpu.job}" else None
    return held_in_short(gpu) if known is None else f"{known.id} {known.name} of {known.owner}"


def gpu_table(now_unix_s: float) -> Table[GpuRow]:
    """Its columns."""
    own, span = Column[GpuRow], Span(now_unix_s - HISTORY_S, now_unix_s)
    return Table(
        (
            own("gpu", kinds.NUMBER, lambda row: row.gpu.index, text=_number),
            own("job", kinds.TEXT, _job),
            curve("watts", lambda row: row.powers_w, span, _top, 5),
            _figure("draw", kinds.POWER, lambda gpu: gpu.power_w),
            _figure("cap", kinds.POWER, _cap),
            _figure("temp", kinds.CELSIUS, lambda gpu: gpu.temp_c, is_alarm=_is_hot),
            own("margin", kinds.CELSIUS, _margin, text=_margin_text, weight=3, is_alarm=_is_near),
            _figure("util", kinds.SHARE, _util, weight=2),
            own("mhz", kinds.NUMBER, lambda row: row.gpu.sm_clock_mhz, text=_clock, weight=4),
            bar("memory", _memory_share, _memory, weight=3),
            own("model", kinds.TEXT, _model, weight=6),
            own("limited", kinds.TEXT, _limited, "LIMITED BY", grows=True, is_alarm=_is_lost),
        ),
        empty="No GPUs are known.",
    )


def _figure(
    name: str,
    kind: Kind,
    value: Callable[[GpuView], float | None],
    *,
    weight: int = 0,
    is_alarm: Callable[[GpuRow], bool] | None = None,
) -> Column[GpuRow]:
    """Of the whole GPU: rows of its parts have none."""

    def text(row: GpuRow) -> str:
        known = value(row.gpu)
        return "" if not row.is_whole else "–" if known is None else kind.show(known)

    return Column(
        name, kind, lambda row: value(row.gpu), text=text, weight=weight, is_alarm=is_alarm
    )


def _top(row: GpuRow) -> float:
    return row.gpu.cap_max_w


def _cap(gpu: GpuView) -> float | None:
    return gpu.cap_w if gpu.can_cap else None


def _margin(row: GpuRow) -> float | None:
    return row.gpu.margin_c


def _margin_text(row: GpuRow) -> str:
    if not row.is_whole:
        return ""
    margin_c = row.gpu.margin_c
    return "–" if margin_c is None else f"{margin_c} °C"


def _is_near(row: GpuRow) -> bool:
    margin_c = row.gpu.margin_c
    return margin_c is not None and margin_c <= NEAR_C


def _clock(row: GpuRow) -> str:
    """With the ceiling, where the clocks are locked."""
    gpu = row.gpu
    if not row.is_whole:
        return ""
    now = "–" if gpu.sm_clock_mhz is None else f"{gpu.sm_clock_mhz}"
    return f"{now} ≤ {gpu.locked_mhz}" if gpu.locked_mhz else now


def _number(row: GpuRow) -> str:
    return f"{row.gpu.index}" if row.is_whole else ""


def _job(row: GpuRow) -> str:
    part, holder = row.holder
    return holder if row.is_whole else f"  {part}: {holder}"


def _util(gpu: GpuView) -> float | None:
    return None if gpu.util_pct is None else gpu.util_pct / 100


def _memory_share(row: GpuRow) -> float | None:
    gpu = row.gpu
    if gpu.memory_used_bytes is None or not gpu.memory_bytes or not row.is_whole:
        return None
    return gpu.memory_used_bytes / gpu.memory_bytes


def _memory(row: GpuRow) -> str:
    used = row.gpu.memory_used_bytes
    if not row.is_whole:
        return ""
    return "–" if used is None else f"{used >> 30}/{row.gpu.memory_bytes >> 30} GiB"


def _model(row: GpuRow) -> str:
    return row.gpu.name.removeprefix("NVIDIA ") if row.is_whole else ""


def _limited(row: GpuRow) -> str:
    """Why its clocks are reduced; first why jobs are not placed on it."""
    if not row.is_whole:
        return ""
    why = reasons(row.gpu.reasons) if row.gpu.healthy else "lost"
    return f"cordoned · {why}" if row.gpu.is_cordoned else why


def _is_lost(row: GpuRow) -> bool:
    return not row.gpu.healthy


def _is_hot(row: GpuRow) -> bool:
    return is_hot(row.gpu)
