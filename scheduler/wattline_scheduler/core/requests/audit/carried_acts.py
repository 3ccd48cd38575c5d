"""Audit records of what the shell carries for users: logged bodies, secrets, terminals."""

from wattline_protocol.ids import Now
from wattline_protocol.text.wording import counted, listed
from wattline_scheduler.core.model.events import BodiesRead, SecretSent, TerminalUsed
from wattline_scheduler.core.model.state import State

MAX_NAMED = 5
"""Nodes named in one record."""


def bodies_read(state: State, event: BodiesRead, now: Now) -> None:
    """Records the user, the number of requests with bodies, their service and the time since."""
    since = state.calendar.text(event.since_unix_s)
    what = f"{counted(event.rows, 'request')} with bodies of service {event.service}"
    state.journal.act("bodies_read", f"{what}, since {since}", now, actor=event.user)


def secret_sent(state: State, event: SecretSent, now: Now) -> None:
    """Records the user, the entry and the nodes that store or remove it; before it is sent."""
    what = "removed from" if event.is_removed else "sent to"
    kind = "secret_removed" if event.is_removed else "secret_put"
    nodes = listed(event.nodes, MAX_NAMED)
    text = f"secret {event.entry} of user {event.user} is {what} {nodes}"
    state.journal.act(kind, text, now, actor=event.actor)


def terminal_used(state: State, event: TerminalUsed, now: Now) -> None:
    """Records an attachment to the terminal of a job, or its end with the reason."""
    what = f"terminal of job {event.job} of user {event.owner}"
    kind, text = "terminal_attached", f"attached to the {what}"
    if event.ended:
        kind, text = "terminal_detached", f"detached from the {what}: {event.ended}"
    state.journal.act(kind, text, now, actor=event.actor, job=event.job, node=event.node)
