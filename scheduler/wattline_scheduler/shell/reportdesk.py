"""Reports are made beside the loop: one thread with a connection of its own, a bounded queue."""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from wattline_protocol.ids import Now, UnixTime
from wattline_protocol.reportviews import ReportView
from wattline_protocol.requests import Denied, GetReport, Report
from wattline_scheduler.core.effects import Reply
from wattline_scheduler.core.state import State
from wattline_scheduler.report import ReportOrder, Step, build_report
from wattline_scheduler.store.errors import StoreError
from wattline_scheduler.views.jobs import newest_record
from wattline_scheduler.views.site import is_simulated

MAX_OUTSTANDING = 8
"""Reports ordered and not yet made."""


class _Ordered(NamedTuple):
    client: bytes
    ask: int
    made: "Future[ReportView]"


class ReportDesk:
    """Orders and what became of them; all methods for the loop's thread."""

    def __init__(self) -> None:
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="wattline-report")
        self._ordered: deque[_Ordered] = deque()

    def order(self, client: bytes, ask: int, order: ReportOrder) -> Reply | None:
        """Begin a report; an answer only where it is refused."""
        if len(self._ordered) >= MAX_OUTSTANDING:
            text = f"{MAX_OUTSTANDING} reports are being made; try again"
            return Reply(client, ask, Denied("busy", text))
        self._ordered.append(_Ordered(client, ask, self._worker.submit(build_report, order)))
        return None

    def take(self) -> list[Reply]:
        """Answers for the reports made since the last call."""
        ready = []
        while self._ordered and self._ordered[0].made.done():
            ready.append(_answer(self._ordered.popleft()))
        return ready

    def close(self) -> None:
        """Wait for the report being made; those behind it are dropped."""
        self._worker.shutdown(cancel_futures=True)


def _answer(ordered: _Ordered) -> Reply:
    try:
        return Reply(ordered.client, ordered.ask, Report(ordered.made.result()))
    except StoreError as error:
        return Reply(ordered.client, ordered.ask, Denied("unavailable", str(error)))


def report_order(
    state: State, path: Path, steps: tuple[Step, ...], request: GetReport, now: Now
) -> ReportOrder:
    """What to report on, with what is in memory only: running attempts and the step in progress."""
    return ReportOrder(
        path=path,
        site=state.site,
        since_unix_s=UnixTime(request.since_unix_s),
        until_unix_s=UnixTime(request.until_unix_s) if request.until_unix_s else now.unix_s,
        simulated=is_simulated(state),
        live=tuple((a.gang.job.record, newest_record(a)) for a in state.work.live.values()),
        steps=steps,
    )
