"""A picture of the terminal over a running site: `python -m wattline_tui.capture OUT.svg`."""

import argparse
import asyncio
import re
from pathlib import Path

from wattline.client import Client
from wattline_tui.app import PERIOD_S, TopApp
from wattline_tui.client import ClientFeed

WAIT_S = 10.0


async def capture(client: Client, size: tuple[int, int], watch_s: float, keys: list[str]) -> str:
    """The screen as SVG after `watch_s` of live snapshots and some keys. Raises TimeoutError."""
    app = TopApp(ClientFeed(client))
    async with app.run_test(size=size) as pilot:
        async with asyncio.timeout(WAIT_S):
            while app.view.site is None:
                await pilot.pause(0.1)
        await pilot.pause(watch_s)
        for key in keys:
            await pilot.press(key)
            await pilot.pause(2 * PERIOD_S)
        return self_contained(app.export_screenshot(title="wattline top"))


def self_contained(svg: str) -> str:
    """The picture without fonts from elsewhere: any monospace font on the reader's side will do."""
    without = re.sub(r"@font-face\s*\{.*?\}", "", svg, flags=re.DOTALL)
    return without.replace("font-family: Fira Code", "font-family: Fira Code, DejaVu Sans Mono")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--bundle", help="join bundle; otherwise as for `wattline`")
    parser.add_argument("--columns", type=int, default=120)
    parser.add_argument("--lines", type=int, default=36)
    parser.add_argument("--watch", type=float, default=2.0, help="seconds")
    parser.add_argument("--key", action="append", default=[], help="press this key first")
    given = parser.parse_args()
    size = (given.columns, given.lines)
    svg = asyncio.run(capture(Client(given.bundle), size, given.watch, given.key))
    given.out.write_text(svg)


if __name__ == "__main__":
    main()
