"""Operator actions on problems: acknowledge an open one, or withdraw that."""

from wattline_protocol.ids import Now, UserName
from wattline_protocol.wire.client_messages import AckProblem, Answer, Denied, Done
from wattline_protocol.wire.problems import Acknowledgement
from wattline_scheduler.core.model import problems
from wattline_scheduler.core.model.problem_book import Problem
from wattline_scheduler.core.model.state import State


def acknowledge(state: State, user: UserName, request: AckProblem, now: Now) -> Answer:
    """Records the acknowledgement, or its withdrawal; a repeat replaces it."""
    problem = _open(state, request.number)
    if problem is None:
        return _no_problem(state, request.number)
    record = problem.record
    if request.withdraw and record.acknowledged is None:
        return Denied("conflict", f"problem {request.number} is not acknowledged")
    ack = None if request.withdraw else Acknowledgement(user, now.unix_s, request.reason)
    problems.acknowledge(state, problem, ack)
    done = "acknowledgement withdrawn" if ack is None else "acknowledged"
    why = f" ({request.reason})" if request.reason else ""
    text = f"{record.subject}: {problem.kind.title}: {done}{why}"
    kind = "problem_unacknowledged" if ack is None else "problem_acknowledged"
    state.journal.act(kind, text, now, actor=user, node=record.node, job=record.job)
    return Done(text)


def _open(state: State, number: int) -> Problem | None:
    of_number = (one for one in state.problems.open.values() if one.record.number == number)
    return next(of_number, None)


def _no_problem(state: State, number: int) -> Denied:
    if number in state.problems.ended:
        return Denied("conflict", f"problem {number} has ended: nothing is left to acknowledge")
    return Denied("not_found", f"no open problem {number}; `wattline problems` lists their numbers")
