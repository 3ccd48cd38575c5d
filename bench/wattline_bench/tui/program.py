"""The terminal's program with notes of when pictures were decoded and shown: BUNDLE NOTES.

The same client, feed and app as of `wattline top`. A note is a line: what, CLOCK_MONOTONIC now, and
CLOCK_MONOTONIC when the scheduler made the picture.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from wattline.client import Client
from wattline_protocol.views.site_views import SiteView
from wattline_tui.app import TopApp
from wattline_tui.client import ClientFeed

ARRIVED, SHOWN = "arrived", "shown"


class NotedFeed(ClientFeed):
    """The app asks for the next picture once the one before is on screen."""

    def __init__(self, client: Client, notes: TextIO) -> None:
        super().__init__(client)
        self._notes = notes

    def sites(self, period_s: float) -> Iterator[SiteView]:
        """As of the feed."""
        for site in super().sites(period_s):
            made_s = site.unix_s + self.clock_offset_s
            self._note(ARRIVED, made_s)
            yield site
            self._note(SHOWN, made_s)

    def _note(self, what: str, made_unix_s: float) -> None:
        now_s = time.monotonic()
        made_s = now_s - (time.time() - made_unix_s)
        self._notes.write(f"{what} {now_s} {made_s}\n")


def main(bundle: str, notes: str) -> int:
    """Show the site until `q`."""
    with Client(bundle) as client, Path(notes).open("w", buffering=1, encoding="ascii") as file:
        app = TopApp(NotedFeed(client, file))
        app.run()
    return app.return_code or 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
