"""Enrolled gateways that do not report: they may serve nevertheless, by their last routes.

One that has reported since it was enrolled is expected until it is removed from the allow-list,
also by the next run of the scheduler. One that never reported serves nothing: it has no routes.
"""

import msgspec

from wattline_protocol.ids import Now
from wattline_protocol.text.quantities import format_duration
from wattline_scheduler.core.model.problems import begin, end
from wattline_scheduler.core.model.service_traffic import GONE_S, GatewayTraffic
from wattline_scheduler.core.model.state import State

KIND = "gateway_gone"
LEFT_OUT = "traffic_left_out"


def note_reported(state: State, gateway: str) -> None:
    """It is expected from now on."""
    member = state.members.get(gateway)
    if member is not None and not member.has_reported:
        state.members[gateway] = msgspec.structs.replace(member, has_reported=True)
        state.journal.save(state.members[gateway])


def note_left_out(state: State, gateway: str, left_out: int, now: Now) -> None:
    """Begins or ends the problem that its reports do not have all its services."""
    if left_out:
        text = f"gateway {gateway}: {left_out} revisions, workers and services are in no report"
        begin(state, LEFT_OUT, _subject(gateway), text, now)
    else:
        end(state, LEFT_OUT, _subject(gateway), now)


def expect_gateways(state: State, now: Now) -> None:
    """A new run waits for those that reported to an earlier one, from `now` on."""
    for name, member in state.members.items():
        if member.has_reported:
            state.traffic[name] = GatewayTraffic(now.mono_s, is_awaited=True)


def forget_gateway(state: State, gateway: str, now: Now) -> None:
    """It is no longer a member, or has another key: what had the old one is refused."""
    state.traffic.pop(gateway, None)
    for kind in (KIND, LEFT_OUT):
        end(state, kind, _subject(gateway), now, f"gateway {gateway} is not enrolled any more")


def tick_gateways(state: State, now: Now) -> None:
    """Begins and ends the problem, and forgets gateways that are no members, at every tick."""
    for name, one in list(state.traffic.items()):
        member = state.members.get(name)
        is_enrolled = member is not None and member.has_reported
        if not one.is_gone(now):
            if not one.is_silent(now):
                end(state, KIND, _subject(name), now, f"gateway {name} reports")
        elif is_enrolled:
            begin(state, KIND, _subject(name), _text(name), now)
        else:
            forget_gateway(state, name, now)


def _subject(gateway: str) -> str:
    return f"gateway {gateway}"


def _text(gateway: str) -> str:
    return f"gateway {gateway} has not reported for {format_duration(GONE_S)} and may still serve"
