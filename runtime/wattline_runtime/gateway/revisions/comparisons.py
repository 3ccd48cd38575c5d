"""Comparisons by the model of a revision on trial: which worker gets which pair of outputs."""

from collections.abc import Mapping

from wattline_runtime.gateway import events as e
from wattline_runtime.gateway.revisions.copies import Copies, Pair
from wattline_runtime.gateway.state import WorkerState
from wattline_runtime.wire import COMPARE, Failure, Infer, Reply

COMPARED_WITHIN_S = 5.0
MAX_AT_WORKER = 2
"""So that slots are left for requests and copies."""


def send_pairs(
    copies: Copies, workers: Mapping[e.Connection, WorkerState], now_s: float
) -> list[e.Effect]:
    """Send pairs to the workers that answered their copies; others wait for a slot, up to a time.

    A worker that has left, or whose model does not compare, is not asked.
    """
    effects: list[e.Effect] = []
    for _ in range(len(copies.due)):
        pair = copies.due.popleft()
        if pair.until_s is None:
            pair.until_s = now_s + COMPARED_WITHIN_S
        worker = workers.get(pair.worker)
        if worker is None or not worker.compares or not worker.takes_new or pair.until_s <= now_s:
            pair.traffic.uncompared += 1
        elif worker.has_slot and len(copies.at_model.keys() & worker.in_flight) < MAX_AT_WORKER:
            effects.append(_send(copies, worker, pair, pair.until_s - now_s))
        else:
            copies.due.append(pair)
    return effects


def _send(copies: Copies, worker: WorkerState, pair: Pair, left_s: float) -> e.Send:
    copies.at_model[pair.number] = pair
    worker.in_flight.add(pair.number)
    budget_ms = max(1, int(left_s * 1000))
    return e.Send(worker.connection, Infer(pair.number, budget_ms, pair.outputs, COMPARE))


def is_comparison(copies: Copies, worker: WorkerState, message: Reply | Failure) -> bool:
    """Whether a message answers a comparison; counts it if so."""
    pair = copies.at_model.get(message.id)
    if pair is None or pair.worker != worker.connection:
        return False
    copies.compared(message.id, message.output if isinstance(message, Reply) else None)
    return True
