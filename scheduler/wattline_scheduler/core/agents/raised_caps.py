"""Alarms about GPUs whose caps others raise, with the jobs and users that could have (I2).

The books follow from its node's Hello and Adopted, as always (I9): the agent counts the GPU at its
maximum, and sends a Hello at once.
"""

from wattline_protocol.ids import Now, TaskRef
from wattline_protocol.text.wording import power_text
from wattline_protocol.wire.agent_messages import Beat
from wattline_protocol.wire.raised_cap import RaisedCap
from wattline_scheduler.core.agents.node_problems import gpu_subject
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.problems import begin, end
from wattline_scheduler.core.model.state import State

KIND = "cap_uncontrolled"


def update_raises(state: State, node: NodeNow, beat: Beat, now: Now) -> None:
    """Opens an alarm for as long as the agent reports the raised cap."""
    open_now = state.problems.of_node.get(node.id, {})
    if not beat.raised and not open_now:
        return
    reported = {gpu_subject(node.id, raised.index): raised for raised in beat.raised}
    for kind, subject in list(open_now):
        if kind == KIND and subject not in reported:
            end(state, kind, subject, now, f"the cap of {subject} holds again")
    for subject, raised in reported.items():
        job = raised.culprits[0].job if raised.culprits else None
        text = f"{subject}: {_words(state, raised)}"
        begin(state, KIND, subject, text, now, node=node.id, job=job)


def _words(state: State, raised: RaisedCap) -> str:
    to = (
        f"raised to {power_text(raised.limit_mw)} (set: {power_text(raised.set_mw)}); it "
        "counts at its maximum"
    )
    if raised.culprits:
        names = _names(state, raised.culprits)
        verb = "is" if len(raised.culprits) == 1 else "are"
        return f"its cap was {to}; {names} had the rights to do that and {verb} frozen, then killed"
    text = f"caps changed by an unknown process, {to} until its cap has held for a while"
    if raised.elsewhere:
        text += f"; on other GPUs of this host {_names(state, raised.elsewhere)} had the rights"
    return text


def _names(state: State, refs: tuple[TaskRef, ...]) -> str:
    return ", ".join(_name(state, ref) for ref in refs)


def _name(state: State, ref: TaskRef) -> str:
    job = state.work.jobs.get(ref.job)
    return f"job {ref.job}" if job is None else f"job {ref.job} of {job.record.owner}"
