"""Sparkline: a short history as a line of block characters."""

from collections.abc import Sequence

BLOCKS = " ▁▂▃▄▅▆▇█"


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
