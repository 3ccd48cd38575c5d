"""Runs reports beside the loop, one at a time, each in a process of its own.

A thread would not do: its computation takes the interpreter's lock from the loop. Order, report and
errors are passed in memory files, so that neither side ever waits for the other.
"""

import os
import pickle
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import msgspec

from wattline_protocol.ids import Now, UnixTime, UserName
from wattline_protocol.views.report_views import GetReport, Report
from wattline_protocol.wire.client_messages import Denied
from wattline_scheduler.core.model.effects import Reply
from wattline_scheduler.core.model.state import State
from wattline_scheduler.report import ReportOrder, Step
from wattline_scheduler.views.jobs_view import newest_record
from wattline_scheduler.views.site_view import is_simulated

MAX_OUTSTANDING = 8
MAX_OUTSTANDING_OF_USER = 2
"""Reports ordered and not yet complete."""

STOP_S = 2.0
MAX_ERROR_CHARS = 500


class _Ordered(NamedTuple):
    client: bytes
    ask: int
    user: UserName
    order: ReportOrder


class _Making(NamedTuple):
    ordered: _Ordered
    process: "subprocess.Popen[bytes]"
    report: IO[bytes]
    errors: IO[bytes]


class ReportWorker:
    """Report orders and their results; all methods for the loop's thread."""

    def __init__(self) -> None:
        self._ordered: deque[_Ordered] = deque()
        self._making: _Making | None = None

    def order(
        self, client: bytes, ask: int, user: UserName, order: Callable[[], ReportOrder]
    ) -> Reply | None:
        """Start or queue a report; returns an answer only if refused."""
        making = [] if self._making is None else [self._making.ordered]
        outstanding = [*making, *self._ordered]
        own = sum(each.user == user for each in outstanding)
        if len(outstanding) >= MAX_OUTSTANDING or own >= MAX_OUTSTANDING_OF_USER:
            text = (
                f"{len(outstanding)} reports in progress, {own} of {user}; the maximum is "
                f"{MAX_OUTSTANDING}, {MAX_OUTSTANDING_OF_USER} per user: retry later"
            )
            return Reply(client, ask, Denied("busy", text))
        self._ordered.append(_Ordered(client, ask, user, order()))
        return next(iter(self._begin_next()), None)

    def take(self) -> list[Reply]:
        """The answer for a report completed since the last call; the next one is started."""
        making = self._making
        if making is None or making.process.poll() is None:
            return []
        self._making = None
        return [_answer(making), *self._begin_next()]

    def close(self) -> None:
        """Cancel the report under way; those queued are dropped."""
        self._ordered.clear()
        if self._making is not None:
            self._making.process.kill()
            self._making.process.wait(STOP_S)
            _close(self._making)
            self._making = None

    def _begin_next(self) -> list[Reply]:
        """Start the first that can be started; answers for those before it, as where connections
        have used up the descriptors."""
        denied: list[Reply] = []
        while self._making is None and self._ordered:
            ordered = self._ordered.popleft()
            try:
                self._making = _begun(ordered)
            except OSError as error:
                text = f"the report's process cannot be started: {error.strerror}; retry later"
                denied.append(Reply(ordered.client, ordered.ask, Denied("unavailable", text)))
        return denied


def _begun(ordered: _Ordered) -> _Making:
    """Raises OSError where a file or the process cannot be had."""
    with ExitStack() as files, _memory_file("report-order") as order:
        report = files.enter_context(_memory_file("report"))
        errors = files.enter_context(_memory_file("report-errors"))
        pickle.dump(ordered.order, order)
        order.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "wattline_scheduler.shell.clients.report_program"],
            stdin=order,
            stdout=report,
            stderr=errors,
        )
        files.pop_all()
    return _Making(ordered, process, report, errors)


def _memory_file(name: str) -> IO[bytes]:
    return os.fdopen(os.memfd_create(name), "w+b")


def _answer(made: _Making) -> Reply:
    client, ask = made.ordered.client, made.ordered.ask
    made.report.seek(0)
    made.errors.seek(0)
    data, output = made.report.read(), made.errors.read().decode(errors="replace")
    _close(made)
    if made.process.returncode != 0:
        status = f"the report's process ended with status {made.process.returncode}"
        reason = output.strip()[-MAX_ERROR_CHARS:] or status
        return Reply(client, ask, Denied("unavailable", reason))
    return Reply(client, ask, Report(cast("Any", msgspec.Raw(data))))


def _close(made: _Making) -> None:
    made.report.close()
    made.errors.close()


def report_order(
    state: State, path: Path, steps: tuple[Step, ...], request: GetReport, now: Now
) -> ReportOrder:
    """The order of a report, with the data in memory: running attempts and the step in progress."""
    return ReportOrder(
        path=path,
        site=state.site,
        since_unix_s=UnixTime(request.since_unix_s),
        until_unix_s=UnixTime(request.until_unix_s) if request.until_unix_s else now.unix_s,
        simulated=is_simulated(state),
        live=tuple((a.gang.job.record, newest_record(a)) for a in state.work.live.values()),
        steps=steps,
    )
