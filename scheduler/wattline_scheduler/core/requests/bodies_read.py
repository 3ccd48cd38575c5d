"""Audit records of logged bodies that users have read."""

from wattline_protocol.ids import Now
from wattline_protocol.text.wording import counted
from wattline_scheduler.core.model.events import BodiesRead
from wattline_scheduler.core.model.state import State


def bodies_read(state: State, event: BodiesRead, now: Now) -> None:
    """Records who read how many requests with their bodies, of which service, since when."""
    since = state.calendar.text(event.since_unix_s)
    what = f"{counted(event.rows, 'request')} with bodies of service {event.service}"
    state.journal.act("bodies_read", f"{what}, since {since}", now, actor=event.user)
