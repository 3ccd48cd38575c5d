"""The disk reserve: with little room left nothing new is taken, so that what runs can end.

A store that finds no room ends the scheduler. What grows by the will of users is refused before:
jobs, changes that make one larger, reservations. What ends, acknowledges or cancels goes on, for it
needs little and makes room. Taken again only with a quarter more than the reserve, so that a disk
at the brink does not make every second submission fail.
"""

from wattline_protocol.ids import Now
from wattline_protocol.text.quantities import about_size
from wattline_protocol.wire.client_messages import Denied
from wattline_scheduler.core.model import problems
from wattline_scheduler.core.model.events import DiskMeasured
from wattline_scheduler.core.model.state import State

MOST_OF_DISK = 10
"""A reserve is at most this fraction of its file system: one in ten."""

GROWTH = 3
"""A job takes so many times its size at most, until the next look: as JSON in the log, there once
more with what stands beside it, and in the database."""

PROBLEM, SUBJECT = "disk_reserve_reached", "site"


def measured(state: State, event: DiskMeasured, now: Now) -> None:
    """What is free beside the store now."""
    reserve = min(state.site.disk_reserve_bytes, event.total_bytes // MOST_OF_DISK)
    above = reserve + reserve // 4
    is_low = event.free_bytes < (above if state.is_disk_low else reserve)
    state.is_disk_low = is_low
    state.disk_room_bytes = event.free_bytes - reserve
    if not is_low:
        problems.end(state, PROBLEM, SUBJECT, now)
        return
    text = (
        f"{about_size(event.free_bytes)} are free beside the store, {about_size(reserve)} are kept "
        f"in reserve (disk_reserve): no new job or reservation is taken below {about_size(above)}"
    )
    problems.begin(state, PROBLEM, SUBJECT, text, now)


def took(state: State, size_bytes: int) -> None:
    """A job of that size was accepted: many of them fill a disk between two looks."""
    if state.disk_room_bytes is None:
        return
    state.disk_room_bytes -= GROWTH * size_bytes
    if state.disk_room_bytes < 0 < state.site.disk_reserve_bytes:
        state.is_disk_low = True


def nothing_new(state: State) -> Denied | None:
    """Why nothing is taken that the store would have to keep; None = it is."""
    if not state.is_disk_low:
        return None
    return Denied(
        "busy",
        "the scheduler's disk is nearly full: nothing new is taken, while jobs run and end as "
        "ever; an operator must free space where its state directory is (disk_reserve)",
    )
