"""Audit records of refused requests, beside those of actions performed."""

from wattline_protocol.ids import NodeId, Now
from wattline_protocol.text.wording import counted
from wattline_protocol.wire.client_messages import Acted, Answer, Denied, Request
from wattline_scheduler.core.model.events import ActRefused, ClientRequest
from wattline_scheduler.core.model.state import State

TARGETS = ("node", "domain", "zone", "name", "id", "number")
"""Request fields that name the target."""

NOT_ALLOWED = "not_allowed"

Kinds = tuple[type[Request], ...]


def note_refused(
    state: State, event: ClientRequest, answer: Answer, of_operators: Kinds, now: Now
) -> None:
    """Records an answer that refuses a request, or part of one. `of_operators`: requests that
    require an operator; every refusal of these is recorded."""
    reason = _refusal(answer, is_of_operators=isinstance(event.request, of_operators))
    if reason:
        target = getattr(event.request, "node", None)
        node = NodeId(target) if target in state.nodes else None
        text = f"{event.role} may not {in_words(event.request)}: {reason}"
        state.journal.refused(text, now, actor=event.user, node=node)


def act_refused(state: State, event: ActRefused, now: Now) -> None:
    """Records a request refused at the edge, before it became an event."""
    state.journal.refused(f"{event.what}: {event.reason}", now, actor=event.actor)


def _refusal(answer: Answer, *, is_of_operators: bool) -> str:
    """Reason of a refusal; empty = none, or an ordinary mistake about the user's own job."""
    match answer:
        case Denied(kind=kind, reason=reason) if kind == NOT_ALLOWED or is_of_operators:
            return reason
        case Acted(is_dry_run=False, jobs=jobs):
            barred = [job for job in jobs if job.refused == NOT_ALLOWED]
            more = f" (and {counted(len(barred) - 1, 'more job')})" if len(barred) > 1 else ""
            return f"{barred[0].text}{more}" if barred else ""
        case _:
            return ""


def in_words(request: Request) -> str:
    """Formats a request: drain n01, cordon n01:3."""
    tag = type(request).__struct_config__.tag
    named = (getattr(request, name, None) for name in TARGETS)
    target = next((str(one) for one in named if one), "")
    gpu = getattr(request, "gpu", "")
    return f"{str(tag).replace('_', ' ')} {target}{gpu and f':{gpu}'}".strip()
