"""The pictures of docs/operating.md: `python -m wattline_bench.tui.pictures FOLDER`.

A real scheduler with played nodes and a queue, as in the measurement of the terminal.
"""

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path

from wattline.client import Client
from wattline_bench.tui.busy import busy_site
from wattline_protocol.ids import DomainId
from wattline_protocol.wire.client_messages import Shed
from wattline_tui.capture import capture

NODES, JOBS = 48, 300
WATCH_S = 20.0
"""Until sparklines have a part of their minutes."""
SHED_SHARE = 0.7
"""So much that it limits work."""
PROBLEM = "the file system of /var/lib/wattline is read-only"

PICTURES: dict[str, tuple[tuple[int, int], Sequence[str]]] = {
    "terminal-site": ((160, 48), ()),
    "terminal-small": ((80, 24), ()),
    "terminal-power": ((120, 36), ("6",)),
    "terminal-problems": ((120, 36), ("5",)),
}
"""Columns and lines, and keys."""


def draw(folder: Path) -> None:
    """All of them."""
    with busy_site(NODES, JOBS, PROBLEM) as (live, client):
        client.act(Shed(DomainId("site"), fraction=SHED_SHARE, reason="request of the grid"))
        for name, (size, keys) in PICTURES.items():
            with Client(live.operator) as watcher:
                svg = asyncio.run(capture(watcher, size, WATCH_S, list(keys)))
            (folder / f"{name}.svg").write_text(svg, encoding="utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    draw(parser.parse_args().folder)


if __name__ == "__main__":
    main()
