"""Refused acts: what a person was not allowed to do is on record beside what was done."""

from wattline_protocol.ids import NodeId, Now
from wattline_protocol.wire.client_messages import Acted, Answer, Denied, Request
from wattline_scheduler.core.model.events import ActRefused, ClientAsked
from wattline_scheduler.core.model.state import State

TARGETS = ("node", "domain", "zone", "name", "id")
"""Fields of a request that name what it is about."""

NOT_ALLOWED = "not_allowed"

Kinds = tuple[type[Request], ...]


def note_refused(
    state: State, event: ClientAsked, answer: Answer, of_operators: Kinds, now: Now
) -> None:
    """An answer that refuses an act, or part of one. `of_operators`: requests that always take an
    operator, of which every refusal is on record."""
    reason = _refusal(answer, is_of_operators=isinstance(event.request, of_operators))
    if reason:
        target = getattr(event.request, "node", None)
        node = NodeId(target) if target in state.nodes else None
        text = f"{event.role} may not {in_words(event.request)}: {reason}"
        state.journal.refused(text, now, who=event.user, node=node)


def act_refused(state: State, event: ActRefused, now: Now) -> None:
    """One that was refused at the edge, before it was an event."""
    state.journal.refused(f"{event.what}: {event.reason}", now, who=event.who)


def _refusal(answer: Answer, *, is_of_operators: bool) -> str:
    """Why it was refused; empty = it was not, or it is an everyday mistake about one's own job."""
    match answer:
        case Denied(kind=kind, reason=reason) if kind == NOT_ALLOWED or is_of_operators:
            return reason
        case Acted(is_dry_run=False, jobs=jobs):
            barred = [job for job in jobs if job.refused == NOT_ALLOWED]
            more = f" (and {len(barred) - 1} more jobs)" if len(barred) > 1 else ""
            return f"{barred[0].text}{more}" if barred else ""
        case _:
            return ""


def in_words(request: Request) -> str:
    """ "drain n01": the request and what it is about."""
    tag = type(request).__struct_config__.tag
    named = (getattr(request, name, None) for name in TARGETS)
    target = next((str(one) for one in named if one), "")
    return f"{str(tag).replace('_', ' ')} {target}".strip()
