"""Problems of a node as its agent reports them: begun and ended with each heartbeat."""

import re
from collections.abc import Iterator

from wattline_protocol.ids import GpuIndex, NodeId, Now
from wattline_protocol.wire.agent_messages import Beat
from wattline_protocol.wire.problem_kinds import AGENT_KINDS
from wattline_protocol.wire.problems import MAX_CONDITIONS, Condition
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.problem_book import Key
from wattline_scheduler.core.model.problems import begin, end
from wattline_scheduler.core.model.state import State

MAX_OF_NODE = 2 * MAX_CONDITIONS
"""Open problems that one agent may report; more begin once others have ended."""

MAX_SHAPE = 60
"""Length of the part of a sentence that identifies it."""

_GPU = re.compile(r"(GPU \d{1,4}): ")
_FIGURE = re.compile(r"\d+(?:[.,]\d+)*")


def gpu_subject(node: NodeId, gpu: GpuIndex) -> str:
    """Subject of a GPU's problems."""
    return f"{node} GPU {gpu}"


def update_conditions(state: State, node: NodeNow, beat: Beat, now: Now) -> None:
    """Begins the problems that the heartbeat reports, ends the others. Linear in its length."""
    if not beat.problems and not beat.conditions and node.id not in state.problems.of_node:
        return
    seen = dict(_conditions(node.id, beat))
    is_cut = any(kind == "more_problems" for kind, _ in seen)
    reported = {key for key in state.problems.of_node.get(node.id, {}) if key[0] in AGENT_KINDS}
    for key in () if is_cut else reported - seen.keys():
        end(state, *key, now)
    for key, text in seen.items():
        if key in reported or len(reported) < MAX_OF_NODE:
            begin(state, *key, text, now, by=node.id, node=node.id)
            reported.add(key)
    lost = {sample.index for sample in beat.gpus if sample.lost}
    _end_lost(state, node.id, lost, now)


def _end_lost(state: State, node: NodeId, lost: set[GpuIndex], now: Now) -> None:
    """Ends the problems of GPUs that are back, including those lost before a restart."""
    still = {gpu_subject(node, gpu) for gpu in lost}
    for kind, subject in list(state.problems.of_node.get(node, {})):
        if kind == "gpu_lost" and subject not in still:
            gpu = subject.removeprefix(f"{node} ")
            end(state, kind, subject, now, f"{gpu} of {node} is back")


def _conditions(node: NodeId, beat: Beat) -> Iterator[tuple[Key, str]]:
    if beat.conditions:
        for one in beat.conditions:
            yield _key(node, one), f"{node}: {one.sentence}"
        return
    for text in beat.problems[:MAX_CONDITIONS]:
        yield _key(node, _from_text(text)), f"{node}: {text}"


def _key(node: NodeId, one: Condition) -> Key:
    kind = one.kind if one.kind in AGENT_KINDS else "node_problem"
    return kind, f"{node} {one.subject}".strip()


def _from_text(text: str) -> Condition:
    """Condition of an older agent's text: identified by its words with the figures removed."""
    named = _GPU.match(text)
    part, rest = (named[1], text[named.end() :]) if named else ("", text)
    shape = _FIGURE.sub("#", rest)
    return Condition("node_problem", f"{part} {shape}".strip()[:MAX_SHAPE], text)
