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
        again = "It needs" if len(chosen) == 1 else "They need"
        question = f"Withdraw the acknowledgement of {_problems(chosen)}?\n{again} attention again."
        return Proposal(question, tuple(AckProblem(one.number, withdraw=True) for one in chosen))
    if len(others) == 1:
        effect = "It stays open until its condition ends, but no longer needs attention."
    else:
        effect = "They stay open until their conditions end, but no longer need attention."
    question = f"Acknowledge {_problems(others)}?\n{effect}"
    return Proposal(question, tuple(AckProblem(one.number) for one in others))


def _problems(some: Sequence[ProblemView]) -> str:
    return listed([f"{one.subject} ({one.kind.replace('_', ' ')})" for one in some])
