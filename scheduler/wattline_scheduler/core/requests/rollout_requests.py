"""Requests about rollouts in progress: promote the new revision, or go back to the old one."""

from wattline_protocol.ids import Now
from wattline_protocol.wire.client_messages import Answer, Denied, Done
from wattline_protocol.wire.rollouts import SteerRollout
from wattline_scheduler.core.model.events import ClientRequest
from wattline_scheduler.core.model.service_traffic import Rollout
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests.selection import Asker
from wattline_scheduler.core.rollout.rollouts import go_back, in_progress, promote


def steer(state: State, event: ClientRequest, request: SteerRollout, now: Now) -> Answer:
    """Promotes or ends the new revision, for the users of the service and operators."""
    asker, service = Asker(event.user, event.role), request.name
    rollout = in_progress(state, service)
    if rollout is None:
        text = f"no rollout of {service} is in progress"
        return Denied("not_found", f"{text}; `wattline rollout {service} FILE` starts one")
    if not (asker.is_operator or state.work.services.may_use(asker.user, service)):
        return Denied("not_allowed", f"service {service} belongs to another user")
    record = rollout.record
    if request.action == "back":
        go_back(state, rollout, f"requested by {event.user}", "cancelled", now)
        return Done(f"revision {record.new} of {service} ends; revision {record.old} serves")
    if record.phase == "replacing":
        return Denied("conflict", f"revision {record.new} is being rolled out already")
    if record.phase != "waiting":
        return Denied("conflict", _not_checked(rollout))
    promote(state, rollout, event.user, now)
    return Done(f"revision {record.new} of {service} replaces revision {record.old}")


def _not_checked(rollout: Rollout) -> str:
    """Why a revision that has not passed the health gate is not promoted."""
    record = rollout.record
    now = f"revision {record.new} of {record.service} is {record.phase}"
    if rollout.text:
        now += f" ({rollout.text})"
    has_trial = record.canary_permille or record.shadow_permille
    then = "`promote` is accepted" if has_trial else "it is promoted by itself"
    return (
        f"{now}; {then} once it has passed its check (`wattline rollout {record.service} status`)"
    )
