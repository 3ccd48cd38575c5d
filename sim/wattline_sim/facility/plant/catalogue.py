"""The kinds of work on a site, by name. Shapes are modelled; how much of each there is, is fitted.

Periods, pauses and levels follow published descriptions of LLM development (Acme, NSDI 2024) and of
power in training (dips in every iteration, saves and evaluations between). Request lengths
and burstiness are fitted to public request traces, decode power against concurrency is that of
the ML.ENERGY leaderboard for Llama-3.1-70B on H100.
"""

from collections.abc import Callable

from wattline_sim.facility.plant.constants import FITTED
from wattline_sim.facility.plant.workload import Service, State, Workload

PREFILL_S_PER_TOKEN = 140e9 / 400e12
"""GPU seconds: 2 FLOP per parameter of a 70 B model at 400 TFLOP/s achieved."""
DECODE_S_PER_TOKEN = 0.030
PREFILL_LEVEL = 0.97

DECODE_LEVELS = ((0.0, 0.05), (0.25, 0.35), (2.0, 0.575), (16.0, 0.67), (64.0, 0.82), (256.0, 0.90))
"""(sequences per GPU, level): 441 W at 2 per GPU to 637 W at 256, above 90 W idle of 700 W; below
2 per GPU the resident model alone (assumed)."""


def training(
    name: str,
    high: float,
    low: float,
    period_s: float,
    level_spread: float,
    *,
    is_hot: bool,
    busy_share: float = 0.82,
) -> Workload:
    """Set-up, then iterations with saves and evaluations between."""
    phase = "training_hot" if is_hot else "training_light"
    again = (("iterate", 0.75), ("evaluate", 0.25))
    return Workload(
        name,
        (
            State("set-up", "slack", 0.06, 0.06, 1.0, 1.0, 60.0, 0.5, (("iterate", 1.0),), 0, 40),
            State("iterate", phase, high, low, period_s, busy_share, 900.0, 0.6, (("save", 1.0),)),
            State("save", "slack", 0.08, 0.08, 1.0, 1.0, 20.0, 0.5, again, 0, 30),
            State(
                "evaluate", phase, 0.6 * high, 0.2 * high, 2.0, 0.6, 60.0, 0.6, (("iterate", 1.0),)
            ),
        ),
        level_spread=level_spread,
    )


def batch(name: str, level: float, level_spread: float) -> Workload:
    """Offline inference and data processing: long busy stretches, loading between."""
    return Workload(
        name,
        (
            State("load", "slack", 0.07, 0.07, 1.0, 1.0, 30.0, 0.5, (("work", 1.0),), 0, 20),
            State("work", "prefill", level, 0.75 * level, 1.5, 0.8, 600.0, 0.8, (("load", 1.0),)),
        ),
        level_spread=level_spread,
        synchronous=False,
    )


def session(name: str) -> Workload:
    """Development and debugging: a held GPU, tried for a minute or two, then idle again."""
    after_try = (("hold", 0.7), ("away", 0.3))
    return Workload(
        name,
        (
            State("hold", "slack", 0.08, 0.08, 1.0, 1.0, 240.0, 0.8, (("try", 1.0),), 0, 0),
            State("try", "training_light", 0.5, 0.15, 0.8, 0.6, 90.0, 0.8, after_try, 0, 80),
            State("away", "slack", 0.0, 0.0, 1.0, 1.0, 600.0, 0.8, (("hold", 1.0),), 0, 0),
        ),
        level_spread=0.3,
        synchronous=False,
    )


def waiting(name: str, level: float, level_spread: float) -> Workload:
    """Work held up elsewhere: collectives spin, data is late; 99 % busy by the driver's count."""
    return Workload(
        name,
        (
            State("spin", "slack", level, level, 1.0, 1.0, 600.0, 0.6, (("move", 1.0),)),
            State("move", "training_light", 0.45, 0.2, 1.0, 0.5, 20.0, 0.6, (("spin", 1.0),)),
        ),
        level_spread=level_spread,
    )


def serving(
    name: str, requests_per_s: float, *, daily: float = 0.4, load_spread: float = 0.0
) -> Workload:
    """An inference replica; `requests_per_s` per GPU of it."""
    requests = FITTED.requests
    return Workload(
        name,
        (State("serve", "decode", 0.05, 0.05),),
        synchronous=False,
        service=Service(
            requests_per_s=requests_per_s,
            prefill_s=requests.context_tokens_mean * PREFILL_S_PER_TOKEN,
            prefill_spread=requests.context_spread,
            decode_s=requests.generated_tokens_mean * DECODE_S_PER_TOKEN,
            decode_levels=DECODE_LEVELS,
            prefill_level=PREFILL_LEVEL,
            daily=daily,
            burst=requests.burst,
            load_spread=load_spread,
        ),
    )


def pulsing(name: str, slack_s: float, busy_s: float) -> Workload:
    """All jobs of this kind go from waiting to full in the same second of the plant's clock."""
    whole_s = slack_s + busy_s
    return Workload(
        name,
        (
            State("wait", "slack", 0.08, 0.08, following=(("full", 1.0),), align_s=whole_s),
            State("full", "training_hot", 1.08, 0.6, 2.0, 0.85, busy_s, 0.0, (("wait", 1.0),)),
        ),
    )


_KINDS: dict[str, Callable[[str], Workload]] = {
    "pretraining": lambda name: training(name, 1.12, 0.55, 3.0, 0.05, is_hot=True),
    "finetuning": lambda name: training(name, 0.92, 0.40, 1.2, 0.15, is_hot=True),
    "light-training": lambda name: training(name, 0.48, 0.20, 0.6, 0.40, is_hot=False),
    "batch": lambda name: batch(name, 0.75, 0.25),
    "session": session,
    "waiting": lambda name: waiting(name, 0.10, 0.10),
    "stalled": lambda name: waiting(name, 0.18, 0.30),
    "serving": lambda name: serving(name, 0.40, load_spread=1.0),
    "serving-row": lambda name: serving(name, 0.90),
    "pulse": lambda name: pulsing(name, 120.0, 60.0),
}

WORKLOADS: dict[str, Workload] = {name: make(name) for name, make in _KINDS.items()}
"""Every kind of work."""
