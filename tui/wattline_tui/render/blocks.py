"""Block characters: a short history as a sparkline, a share as a bar. Pure."""

from collections.abc import Sequence

BLOCKS = " ▁▂▃▄▅▆▇█"
"""Eighths of a character, from the bottom."""
BARS = " ▏▎▍▌▋▊▉█"
"""Eighths of a character, from the left."""


def spark(values: Sequence[float], width: int, top: float) -> str:
    """The last `width` x k samples in `width` characters, scaled to 0..`top`.

    Each character shows the largest sample it stands for, so that a short peak stays visible.
    """
    if not values or top <= 0 or width <= 0:
        return ""
    step = -(-len(values) // width)
    groups = [max(values[i : i + step]) for i in range(0, len(values), step)]
    last = len(BLOCKS) - 1
    return "".join(BLOCKS[min(last, max(0, round(v / top * last)))] for v in groups)


def filled(part: float, width: int) -> str:
    """A bar of eighths of a character; full only at 1, empty only at 0."""
    if width <= 0:
        return ""
    most = 8 * width
    eighths = round(min(1.0, max(0.0, part)) * most)
    if 0 < part < 1:
        eighths = min(most - 1, max(1, eighths))
    full, rest = divmod(eighths, 8)
    return ("█" * full + (BARS[rest] if rest else "")).ljust(width)
