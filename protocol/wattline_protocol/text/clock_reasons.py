"""Why the clocks of a GPU are reduced, in words."""

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


def clock_reasons(bits: int) -> str:
    """The most severe first; empty = they are not reduced."""
    return ", ".join(word for bit, word in REASON_WORDS if bits & bit)
