"""What ordering by length is worth: an encoder of MiniLM's shape behind a real gateway.

    python bench/bench_length_order.py [--seconds 8] [--batch 8]

32 users in a closed loop send sentences of 5 to 60 words; one worker, one torch thread, float32.
Once with a model that tells lengths and once with the same that does not. Then Poisson arrivals
at 40/s, well below what it can do, where a lone request must not wait. Prints one JSON object.
"""

import argparse
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import bench_gateway as base

SENTENCES = 1024
TOKENS_PER_WORD = 1.3


class SentenceLoad(base.Load):
    """The same loads, with another sentence in each request."""

    def __init__(self, url: str, connections: int, timeout_ms: int) -> None:
        super().__init__(url, connections, timeout_ms)
        random = Random(3)
        self._next = 0
        self._requests = [self._sentence(random) for _ in range(SENTENCES)]

    def _sentence(self, random: Random) -> bytes:
        count = round(random.randint(5, 60) * TOKENS_PER_WORD)
        tokens = [random.randrange(1000, 30_000) for _ in range(count)]
        body = json.dumps({"input": tokens}).encode()
        head = f"POST /v1/services/{base.SERVICE}/infer HTTP/1.1\r\nhost: bench\r\n"
        return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body

    def _send(self, connection: socket.socket, due_s: float) -> None:
        self._since_s[connection] = due_s
        connection.sendall(self._requests[self._next % SENTENCES])
        self._next += 1


def serve(model: str, batch: int, run: Callable[[SentenceLoad], base.Answers]) -> dict[str, Any]:
    path = Path(__file__).parent / "encoder_model.py"
    with base.stack(f"--max-batch-cost={batch}", model=f"{path}:{model}") as running:
        load = SentenceLoad(running.endpoints["http_url"], 64, 30_000)
        base.wait_until_ready(running)
        load.closed_loop(1.0, users=1)
        start_s = time.perf_counter()
        answers = run(load)
        took_s = time.perf_counter() - start_s
        load.close()
    return base.summary(answers, took_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--batch", type=int, default=8)
    options = parser.parse_args()

    def closed(load: SentenceLoad) -> base.Answers:
        return load.closed_loop(options.seconds, users=32)

    def poisson(load: SentenceLoad) -> base.Answers:
        return load.open_loop(options.seconds, 40.0)

    report = {
        "c32_unordered": serve("Unordered", options.batch, closed),
        "c32_ordered": serve("Ordered", options.batch, closed),
        "c32_batches_of_one": serve("Unordered", 1, closed),
        "poisson_40_per_s_ordered": serve("Ordered", options.batch, poisson),
        "poisson_40_per_s_batches_of_one": serve("Unordered", 1, poisson),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
