"""Watches the site while the demo runs: peaks of committed watts, and the newest view."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from wattline.client import Client, Unreachable, WattlineError
from wattline_protocol.ids import DomainId
from wattline_protocol.views.site_views import DomainView, SiteView

PERIOD_S = 0.25
ROUNDING_W = 0.5


@dataclass(slots=True)
class DomainWatch:
    """Observations of one domain."""

    name: DomainId
    kind: str
    full_budget_w: float
    peak_committed_w: float = 0.0
    peak_measured_w: float = 0.0
    over_committed: int = 0
    """Views in which more was committed than the full budget allows (I1)."""

    def take(self, view: DomainView, *, is_measured: bool) -> None:
        """Count one view; `is_measured`: every node's draw in it was measured, none estimated."""
        self.peak_committed_w = max(self.peak_committed_w, view.committed_w)
        if is_measured:
            self.peak_measured_w = max(self.peak_measured_w, view.measured_w)
        if view.committed_w + view.reserved_w > self.full_budget_w + ROUNDING_W:
            self.over_committed += 1


class Watcher:
    """A thread with a client of its own. Counts from the time that all nodes were adopted."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._changed = threading.Condition()
        self._newest: SiteView | None = None
        self._stopping = False
        self._has_begun = False
        self.failure: WattlineError | None = None
        """Why the thread ended before it was stopped."""
        self.domains: dict[DomainId, DomainWatch] = {}
        self.views = 0
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; its observations stay."""
        self._stopping = True
        self._client.close()
        self._thread.join()

    def wait_for(self, holds: Callable[[SiteView], bool], timeout_s: float) -> SiteView | None:
        """The first view, the newest included, for which `holds`; None on time-out."""
        until_s = time.monotonic() + timeout_s
        with self._changed:
            while True:
                if self._newest is not None and holds(self._newest):
                    return self._newest
                left_s = until_s - time.monotonic()
                if left_s <= 0 or self._stopping:
                    return None
                self._changed.wait(left_s)

    def forget(self) -> None:
        """Only views from now on count for `wait_for`: the scheduler was stopped."""
        with self._changed:
            self._newest = None

    def _run(self) -> None:
        while not self._stopping:
            try:
                for view in self._client.watch_site(PERIOD_S):
                    self._take(view)
            except Unreachable:
                continue  # the demo kills the scheduler on purpose
            except WattlineError as error:
                self.failure = None if self._stopping else error
                return

    def _take(self, view: SiteView) -> None:
        with self._changed:
            self._newest = view
            self._has_begun = self._has_begun or _is_settled(view)
            if self._has_begun:
                self.views += 1
                is_measured = all(n.measured_w is not None for n in view.nodes)
                for domain in view.domains:
                    watch = self.domains.setdefault(
                        domain.id, DomainWatch(domain.id, domain.kind, domain.full_budget_w)
                    )
                    watch.take(domain, is_measured=is_measured)
            self._changed.notify_all()


def _is_settled(view: SiteView) -> bool:
    """All nodes were heard and count at their leases; before that they count at nameplate."""
    is_heard = all(node.state == "ok" for node in view.nodes)
    return is_heard and all(domain.headroom_w >= 0 for domain in view.domains)
