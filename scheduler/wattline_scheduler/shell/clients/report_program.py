"""Program that creates one report: `python -m wattline_scheduler.shell.clients.report_program`.

The order is read from stdin, pickled by the scheduler that started this. The report is written to
stdout as MessagePack, truncated to what fits a message. Exit status 1 with a sentence on stderr:
the store could not be read.
"""

import os
import pickle
import sys

import msgspec

from wattline_protocol.views.report_views import Report, ReportView
from wattline_scheduler.report import ReportOrder, build_report
from wattline_scheduler.shell.clients.long_lists import MAX_ROW_BYTES
from wattline_scheduler.shell.clients.truncate import smaller
from wattline_scheduler.store.errors import StoreError

NICENESS = 5
"""Beats and leases take precedence over reports, also on a single core."""


def report_bytes(report: ReportView) -> bytes:
    """The report, encoded for a message. Raises ValueError where not even one job fits."""
    fitted = Report(report)
    while len(data := msgspec.msgpack.encode(fitted.report)) > MAX_ROW_BYTES:
        less = smaller(fitted)
        if not isinstance(less, Report):
            raise ValueError("the report is larger than a message may be")
        fitted = less
    return data


def main() -> int:
    """Returns the exit status."""
    os.nice(NICENESS)
    order = pickle.load(sys.stdin.buffer)  # noqa: S301 - written by the scheduler itself
    if not isinstance(order, ReportOrder):
        raise TypeError(f"no order of a report: {type(order).__name__}")
    try:
        sys.stdout.buffer.write(report_bytes(build_report(order)))
    except (StoreError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
