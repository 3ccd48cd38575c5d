"""The disk reserve: when disk space is low, new work is refused, so that running work can end.

A store on a full disk ends the scheduler. Requests of users that grow the store are refused before
that: jobs, updates that make one larger, reservations. Ends, acknowledgements and cancels are
always accepted: they need little space and free some. New work is accepted again at a quarter above
the reserve, so that a disk at the threshold does not make every second submission fail.
"""

from wattline_protocol.ids import Now
from wattline_protocol.text.wording import about_size
from wattline_protocol.wire.client_messages import Denied
from wattline_scheduler.core.model import problems
from wattline_scheduler.core.model.events import DiskMeasured
from wattline_scheduler.core.model.state import State

MOST_OF_DISK = 10
"""Upper bound of the reserve: one tenth of its file system."""

GROWTH = 3
"""Upper bound of the space of a job until the next measurement, as a multiple of its size: JSON in
the log, once more there with its envelope, and in the database."""

PROBLEM, SUBJECT = "disk_reserve_reached", "site"


def measured(state: State, event: DiskMeasured, now: Now) -> None:
    """Takes a measurement of the free space beside the store."""
    reserve = min(state.site.disk_reserve_bytes, event.total_bytes // MOST_OF_DISK)
    above = reserve + reserve // 4
    is_low = event.free_bytes < (above if state.is_disk_low else reserve)
    state.is_disk_low = is_low
    state.disk_free_bytes = event.free_bytes - reserve
    if not is_low:
        problems.end(state, PROBLEM, SUBJECT, now)
        return
    text = (
        f"{about_size(event.free_bytes)} free on the store's file system (disk_reserve: "
        f"{about_size(reserve)}); new jobs and reservations are refused below {about_size(above)}"
    )
    problems.begin(state, PROBLEM, SUBJECT, text, now)


def count_accepted(state: State, size_bytes: int) -> None:
    """Counts an accepted job of that size: many of them fill a disk between two measurements."""
    if state.disk_free_bytes is None:
        return
    state.disk_free_bytes -= GROWTH * size_bytes
    if state.disk_free_bytes < 0 < state.site.disk_reserve_bytes:
        state.is_disk_low = True


def deny_new_work(state: State) -> Denied | None:
    """Denies new work while the disk is nearly full; None = accepted."""
    if not state.is_disk_low:
        return None
    return Denied(
        "busy",
        "the scheduler's disk is nearly full (disk_reserve): new jobs and reservations are "
        "refused until an operator frees space in its state directory; other jobs continue",
    )
