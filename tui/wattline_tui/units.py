"""Number formats of the terminal."""

from wattline_protocol.views.site_views import GpuView

REASON_WORDS = (
    (0x80, "power brake"),
    (0x40, "HW thermal"),
    (0x20, "SW thermal"),
    (0x08, "HW slowdown"),
    (0x04, "power cap"),
    (0x10, "sync boost"),
    (0x02, "app clocks"),
    (0x100, "display"),
    (0x01, "idle"),
)
"""Clock event reasons by NVML bit, most severe first."""


def watts(value_w: float | None) -> str:
    """`640 W`, `12.3 kW`, `1.20 MW`; a dash for unknown."""
    if value_w is None:
        return "–"
    size = abs(value_w)
    if size >= 999_500:
        return f"{value_w / 1e6:.2f} MW"
    if size >= 999.5:
        return f"{value_w / 1e3:.1f} kW"
    return f"{value_w:.0f} W"


def kilowatts(value_w: float | None) -> str:
    """Watts in kW with one digit, without the unit: for columns that name it."""
    return "–" if value_w is None else f"{value_w / 1e3:.1f}"


def duration(seconds: float | None) -> str:
    """`42s`, `3m10s`, `5h02m`, `3d04h`."""
    if seconds is None:
        return "–"
    s = max(0, int(seconds))
    if s < 60:
        return f"{s}s"
    if s < 3600:
        return f"{s // 60}m{s % 60:02d}s"
    if s < 86400:
        return f"{s // 3600}h{s % 3600 // 60:02d}m"
    return f"{s // 86400}d{s % 86400 // 3600:02d}h"


def reasons(bits: int) -> str:
    """Why the clocks are reduced, as text."""
    words = [word for bit, word in REASON_WORDS if bits & bit]
    return ", ".join(words) if words else "none"


def is_capped(gpu: GpuView) -> bool:
    """The power cap reduces this GPU's clocks."""
    return bool(gpu.reasons & 0x04)


def is_hot(gpu: GpuView) -> bool:
    """Heat reduces this GPU's clocks."""
    return bool(gpu.reasons & 0x60)
