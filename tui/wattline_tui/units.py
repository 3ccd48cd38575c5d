"""Number formats of the terminal."""

from wattline_protocol.text import wording
from wattline_protocol.text.clock_reasons import clock_reasons
from wattline_protocol.views.site_views import GpuView


def watts(value_w: float | None) -> str:
    """`640 W`, `12.3 kW`; a dash for unknown."""
    return "–" if value_w is None else wording.watts(value_w)


def kilowatts(value_w: float | None) -> str:
    """Watts in kW with one digit, without the unit: for columns that name it."""
    return "–" if value_w is None else f"{value_w / 1e3:.1f}"


def duration(seconds: float | None) -> str:
    """Whole seconds: `42s`, `3m10s`, `5h02m`, `3d04h`; a dash for unknown."""
    return "–" if seconds is None else wording.elapsed(max(0, int(seconds)))


def reasons(bits: int) -> str:
    """Why the clocks are reduced, as text."""
    return clock_reasons(bits) or "none"


def is_capped(gpu: GpuView) -> bool:
    """The power cap reduces this GPU's clocks."""
    return bool(gpu.reasons & 0x04)


def is_hot(gpu: GpuView) -> bool:
    """Heat reduces this GPU's clocks."""
    return bool(gpu.reasons & 0x60)
