"""What ordering by length is worth: an encoder of MiniLM's shape behind a real gateway.

32 users in a closed loop send sentences of 5 to 60 words; one worker, one torch thread, float32.
Once with a model that tells lengths and once with the same that does not. Then Poisson arrivals
at 40/s, well below what it can do, where a lone request must not wait.
"""

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from wattline_bench.serving import gateway as base
from wattline_bench.verdict import Figures, judged

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


def _serve(
    name: str, model: str, batch: int, run: Callable[[SentenceLoad], base.Answers]
) -> base.Served:
    path = Path(__file__).parent / "encoder_model.py"
    with base.stack(f"--max-batch-cost={batch}", model=f"{path}:{model}") as running:
        load = SentenceLoad(running.endpoints["http_url"], 64, 30_000)
        base.wait_until_ready(running)
        load.closed_loop(1.0, users=1)
        start_s = time.perf_counter()
        answers = run(load)
        took_s = time.perf_counter() - start_s
        load.close()
    return base.served(name, answers, took_s)


@judged
def measure(*, seconds: float, batch: int) -> tuple[Figures, ...]:
    """Each load for `seconds`."""

    def closed(load: SentenceLoad) -> base.Answers:
        return load.closed_loop(seconds, users=32)

    def poisson(load: SentenceLoad) -> base.Answers:
        return load.open_loop(seconds, 40.0)

    return (
        _serve("32 users, not ordered", "Unordered", batch, closed),
        _serve("32 users, ordered", "Ordered", batch, closed),
        _serve("32 users, batches of one", "Unordered", 1, closed),
        _serve("40/s, ordered", "Ordered", batch, poisson),
        _serve("40/s, batches of one", "Unordered", 1, poisson),
    )
