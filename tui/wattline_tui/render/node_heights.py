"""Lines of each part of the node screen."""

from dataclasses import dataclass

HEADING = 1
LEAST_ROWS = 3
"""GPUs in view before charts get any line."""
LEAST_CHART = 2
MOST_PROCESSES = 8
FRAME = 2
"""Of facts and table, which have a frame on every screen."""


@dataclass(frozen=True, slots=True)
class NodeHeights:
    """Lines, borders included; 0 = no place."""

    facts: int
    host: int
    table: int
    charts: int
    processes: int

    @property
    def lines(self) -> int:
        """Of all of them."""
        return self.facts + self.host + self.table + self.charts + self.processes


def node_heights(
    height: int, *, facts: int, host: int, gpus: int, processes: int, border: int
) -> NodeHeights:
    """Facts take two fifths at most; GPUs what they need, but for the least chart and one process;
    charts have the rest, or the table where that is too little for them.
    """
    facts = min(facts + FRAME, height * 2 // 5)
    host = min(host + border, max(0, height - facts - FRAME - HEADING - LEAST_ROWS))
    left = height - facts - host
    least = LEAST_CHART + 1 + 2 * border
    table = min(max(1, gpus) + HEADING + FRAME, max(FRAME + HEADING + LEAST_ROWS, left - least))
    table = min(table, left)
    left -= table
    if left < least:
        return NodeHeights(facts, host, table + left, 0, 0)
    wanted = max(1, min(processes, MOST_PROCESSES)) + border
    taken = min(wanted, left - LEAST_CHART - border)
    return NodeHeights(facts, host, table, left - taken, taken)
