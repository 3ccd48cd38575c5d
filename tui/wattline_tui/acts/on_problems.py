"""Proposals about problems."""

from collections.abc import Sequence

from wattline_protocol.text.wording import listed
from wattline_protocol.wire.client_messages import AckProblem
from wattline_protocol.wire.problems import ProblemView
from wattline_tui.acts.proposal import Proposal
from wattline_tui.model import View


def acknowledge(view: View, numbers: Sequence[str]) -> Proposal:
    """Acknowledges those that are not; where all are, withdraws that. Raises ValueError."""
    problems = view.site.problems if view.site else ()
    chosen = [one for one in problems if str(one.number) in numbers]
    if not chosen:
        raise ValueError("the problem has ended")
    others = [one for one in chosen if one.acknowledged is None]
    if not others:
        again = "It asks" if len(chosen) == 1 else "They ask"
        question = f"Withdraw the acknowledgement of {_problems(chosen)}?\n{again} for attention."
        return Proposal(question, tuple(AckProblem(one.number, withdraw=True) for one in chosen))
    if len(others) == 1:
        effect = "It stays open until its condition ends, and asks for attention no longer."
    else:
        effect = "They stay open until their conditions end, and ask for attention no longer."
    question = f"Acknowledge {_problems(others)}?\n{effect}"
    return Proposal(question, tuple(AckProblem(one.number) for one in others))


def _problems(some: Sequence[ProblemView]) -> str:
    return listed([f"{one.subject} ({one.kind.replace('_', ' ')})" for one in some])
