"""Reads a page of a gateway's logs in a process of its own, so that no request waits for it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from wattline_protocol.views.request_logs import LogFilter, LogQuery, ReportLogPage
from wattline_runtime.log_reading.body_files import body_files
from wattline_runtime.log_reading.log_pages import newest_first, read_page, rotated

READ_S = 3.0
"""Time for reading; a page that is not complete by then has what was read."""
END_S = 5.0
"""A process that takes longer is killed."""
NICENESS = 10


class LogFiles(msgspec.Struct, frozen=True):
    """Logs of a gateway; empty = it keeps none."""

    access_log: str = ""
    body_log: str = ""
    """A folder."""


class _Order(msgspec.Struct, frozen=True):
    query: LogQuery
    files: LogFiles


def ask_reader(query: LogQuery, files: LogFiles) -> ReportLogPage:
    """The page for a query, or why there is none."""
    command = [sys.executable, "-m", "wattline_runtime.log_reading.log_reader"]
    order = msgspec.msgpack.encode(_Order(query, files))
    try:
        done = subprocess.run(command, input=order, capture_output=True, timeout=END_S, check=True)
        return msgspec.msgpack.decode(done.stdout, type=ReportLogPage)
    except subprocess.TimeoutExpired:
        return ReportLogPage(query.number, error="its disk is too slow to read the log")
    except (OSError, subprocess.CalledProcessError, msgspec.DecodeError) as error:
        # The text of the error only: what the process wrote may be of the log.
        return ReportLogPage(query.number, error=f"cannot read its log: {type(error).__name__}")


def page_of(order: _Order, until_s: float) -> ReportLogPage:
    """Read it here."""
    query, wanted = order.query, order.query.filter
    if wanted is None:
        return ReportLogPage(query.number)
    try:
        files = _files(order.files, wanted)
        return read_page(files, wanted, query.owners, query.number, until_s)
    except (OSError, ValueError) as error:
        why = (isinstance(error, OSError) and error.strerror) or "the query is malformed"
        return ReportLogPage(query.number, error=f"cannot read its log: {why}"[:500])
    except _NoLog as error:
        return ReportLogPage(query.number, error=str(error))


class _NoLog(Exception):
    """The gateway keeps no log of that kind."""


def _files(files: LogFiles, wanted: LogFilter) -> list[Path]:
    if wanted.kind == "bodies":
        if not files.body_log:
            raise _NoLog("logs no bodies (--body-log)")
        return newest_first(body_files(Path(files.body_log), wanted.service))
    if not files.access_log:
        raise _NoLog("keeps no access log (--access-log)")
    return rotated(Path(files.access_log))


def main() -> None:
    """An order on stdin, a page on stdout."""
    os.nice(NICENESS)
    order = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=_Order)
    page = page_of(order, time.monotonic() + READ_S)
    sys.stdout.buffer.write(msgspec.msgpack.encode(page))


if __name__ == "__main__":
    main()
