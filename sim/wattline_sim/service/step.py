"""How soon a service does more tokens a second after its load has doubled.

Steady load, doubled for some seconds again and again, on average over all steps and against the
mean before each. Two measures: the tokens that were worked off, and the work that the ready
replicas can do under their caps, which only watts raise so soon.
"""

from typing import NamedTuple

import numpy as np

from wattline_sim.facility.building import Building
from wattline_sim.facility.plant import dice
from wattline_sim.facility.plant.dice import Floats
from wattline_sim.service.requests import Requests
from wattline_sim.service.run import Run, Scaling, begun
from wattline_sim.service.stage import STEP_S

STEADY_S, DOUBLE_S, STEPS = 90, 15, 10
LEAD_S = 900
BEFORE_S = 10
MORE = 1.1
_GAP_SALT = 1 << 22


class Step(NamedTuple):
    """Seconds from the step until each was `MORE` times that before; infinite = never."""

    tokens_s: float
    ability_s: float


def seconds_to_more(
    building: Building, lengths: Requests, scaling: Scaling, rate: float, count: int, seed: int
) -> Step:
    """Of a service with `count` replicas at the start.

    `rate`: input tokens a second of the steady load, of requests as long as those of `lengths`.
    """
    begins = [LEAD_S + (STEADY_S + DOUBLE_S) * at for at in range(STEPS)]
    run = begun(building, _steps(lengths, rate, begins, seed), seed, scaling, count)
    done, able = np.zeros((2, round((begins[-1] + DOUBLE_S) / STEP_S)))
    for at in range(len(done)):
        before = run.stage.replicas.tokens
        run.step()
        done[at], able[at] = run.stage.replicas.tokens - before, _ability(run)
    return Step(_first_more(done, begins), _first_more(able, begins))


def _first_more(series: Floats, begins: list[int]) -> float:
    after, before = round(DOUBLE_S / STEP_S), round(BEFORE_S / STEP_S)
    firsts = [round(begin / STEP_S) for begin in begins]
    gains = [series[at : at + after] / series[at - before : at].mean() for at in firsts]
    more = np.flatnonzero(np.mean(gains, axis=0) >= MORE)
    return float((more[0] + 1) * STEP_S) if more.size else float("inf")


def _ability(run: Run) -> float:
    """Work a second of all ready replicas, in that of an uncapped one."""
    stage = run.stage
    ready = stage.replicas.ready(stage.now_s)
    return sum(float(stage.plant.performance[stage.gpus_of(one.slot)].min()) for one in ready)


def _steps(lengths: Requests, rate: float, begins: list[int], seed: int) -> Requests:
    """Poisson arrivals at that rate, and at twice the rate for `DOUBLE_S` from each begin."""
    per_s = rate / float(lengths.input_tokens.mean())
    knots = [(0.0, 0.0)]
    for begin in begins:
        at_s, total = knots[-1]
        total += (begin - at_s) * per_s
        knots += [(begin, total), (begin + DOUBLE_S, total + 2.0 * DOUBLE_S * per_s)]
    time_s, expected = np.array(knots).T
    count = int(expected[-1])
    keys = dice.keys_of(seed, count)
    throw = dice.uniform(keys, np.full(count, _GAP_SALT, np.uint64))
    gaps = -np.log1p(-throw)
    chosen = np.arange(count) % len(lengths.arrival_s)
    arrival_s = np.interp(np.cumsum(gaps), expected, time_s)
    return Requests(arrival_s, lengths.input_tokens[chosen], lengths.output_tokens[chosen])
