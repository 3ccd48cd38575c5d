"""What ordering by length is worth: an encoder of MiniLM's shape behind a real gateway.

32 users in a closed loop send sentences of 5 to 60 words; one worker, one torch thread, float32.
Once with a model that declares lengths and once with the same model without them. Then Poisson
arrivals at 40/s, well below what it can do, where a lone request must not wait.
"""

import json
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from random import Random

import msgspec

from wattline_bench.serving import gateway as base
from wattline_bench.serving.load import Answers, Load, posts
from wattline_bench.verdict import Figures, judged, over

SENTENCES = 1024
ROUNDS = 3
LEARN_S = 5.0
"""Before each load: the worker measures its batches."""
CPU_AT_MOST = 0.8
TOKENS_PER_WORD = 1.3


def _bodies() -> Iterator[bytes]:
    """Sentences as lists of tokens, over and over."""
    random = Random(3)
    return cycle([_body(random) for _ in range(SENTENCES)])


def _body(random: Random) -> bytes:
    count = round(random.randint(5, 60) * TOKENS_PER_WORD)
    return json.dumps({"input": [random.randrange(1000, 30_000) for _ in range(count)]}).encode()


class Ordered(base.Served, frozen=True):
    """With lengths, in turns with the same model without: medians of the rounds."""

    cpu_to_unordered: float
    """CPU of the worker for a request, to that without lengths."""

    def misses(self) -> tuple[str, ...]:
        return over(f"{self.load}: CPU to that not ordered", self.cpu_to_unordered, CPU_AT_MOST)


def _serve(name: str, model: str, batch: int, run: Callable[[Load], Answers]) -> base.Served:
    path = Path(__file__).parent / "encoder_model.py"
    idle = ("--client-timeout-s=600",)  # not every load uses every connection
    with base.stack(
        f"--max-batch-cost={batch}", model=f"{path}:{model}", gateway_args=idle
    ) as running:
        load = Load(running.endpoints["http_url"], 64, posts(_bodies()))
        base.wait_until_ready(running)
        load.closed_loop(LEARN_S, users=32)
        before = running.cpu_s()
        start_s = time.perf_counter()
        answers = run(load)
        took_s = time.perf_counter() - start_s
        cpu = {name: value - before[name] for name, value in running.cpu_s().items()}
        load.close()
    per_request = {name: round(s / len(answers) * 1e6, 1) for name, s in cpu.items()}
    return base.served(name, answers, took_s, per_request)


def _middle(rounds: list[base.Served]) -> base.Served:
    return sorted(rounds, key=_worker_us)[len(rounds) // 2]


def _worker_us(served: base.Served) -> float:
    return served.cpu_us_per_request["worker"]


@judged
def measure(*, seconds: float, batch: int) -> tuple[Figures, ...]:
    """Each load for `seconds`, with lengths and without in turns."""

    def closed(load: Load) -> Answers:
        return load.closed_loop(seconds, users=32)

    def poisson(load: Load) -> Answers:
        return load.open_loop(seconds, 40.0)

    without: list[base.Served] = []
    ordered: list[base.Served] = []
    for _ in range(ROUNDS):
        without.append(_serve("32 users, not ordered", "Unordered", batch, closed))
        ordered.append(_serve("32 users, ordered", "Ordered", batch, closed))
    ratio = _worker_us(_middle(ordered)) / _worker_us(_middle(without))
    return (
        _middle(without),
        Ordered(**msgspec.structs.asdict(_middle(ordered)), cpu_to_unordered=round(ratio, 3)),
        _serve("32 users, batches of one", "Unordered", 1, closed),
        _serve("40/s, ordered", "Ordered", batch, poisson),
        _serve("40/s, batches of one", "Unordered", 1, poisson),
    )
