"""Contains faults of Wattline's own code: a check or read that fails is denied, with an alarm, and
does not end the run, since it has changed nothing.
"""

from collections.abc import Callable
from typing import TypeVar

from wattline_protocol.ids import NodeId, Now, UserName
from wattline_protocol.wire.client_messages import Denied
from wattline_scheduler.core.leases.distrust import distrust
from wattline_scheduler.core.model.events import FaultSeen
from wattline_scheduler.core.model.problems import begin
from wattline_scheduler.core.model.state import State

MAX_ERROR_CHARS = 200

REPORT_IT = "Operators see an alarm; please report this as a bug of Wattline"

T = TypeVar("T")


def total(state: State, what: str, user: UserName, check: Callable[[], T], now: Now) -> T | Denied:
    """Runs `check`, which changes nothing; if it fails, denies the request and raises an alarm.

    `what`: the request as text, as "submit".
    """
    try:
        return check()
    except MemoryError:
        raise
    except Exception as error:
        fault_seen(state, failed(what, user, error), now)
        return internal_error(what, error)


def internal_error(what: str, error: Exception) -> Denied:
    """The denial of a request whose check failed."""
    text = f"internal error: {what} could not be checked ({described(error)}); nothing was changed"
    return Denied("internal", f"{text}. {REPORT_IT}")


def unsendable(what: str, error: Exception) -> Denied:
    """The denial in place of an answer that cannot be encoded. An act may have been done."""
    text = f"internal error: {what} cannot be encoded ({described(error)})"
    return Denied("internal", f"{text}. {REPORT_IT}")


def failed(what: str, user: UserName, error: Exception) -> FaultSeen:
    """The alarm about it."""
    text = f"{what} of {user} was refused because of an internal error: {described(error)}"
    return FaultSeen("check_failed", f"site {what}", text)


def unsent(what: str, node: NodeId, error: Exception) -> FaultSeen:
    """The alarm about a message to a node that cannot be encoded: it is not sent."""
    text = f"{what} to {node} was not sent because of an internal error: {described(error)}"
    return FaultSeen("check_failed", f"{node} {what}", text)


def described(error: BaseException) -> str:
    """Formats an error with its location: `ValueError: … at moment:104`."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    where = "" if at is None else f" at {at.tb_frame.f_code.co_name}:{at.tb_lineno}"
    return f"{type(error).__name__}: {error}"[:MAX_ERROR_CHARS] + where


def fault_seen(state: State, fault: FaultSeen, now: Now) -> None:
    """Raises an alarm; a node whose messages are no longer processed counts in full (I9)."""
    begin(state, fault.kind, fault.subject, fault.text, now, node=fault.node)
    if fault.node is not None and fault.node in state.nodes:
        distrust(
            state, state.nodes[fault.node], "sent the message that crashed the previous run", now
        )
