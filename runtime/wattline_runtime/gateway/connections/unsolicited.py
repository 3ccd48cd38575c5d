"""Bounds what a worker sends without a request of its own to answer. No I/O.

A frame has up to 1,024 messages, and the rate of the socket counts frames: one worker that sent
beats as fast as it could kept the gateway from all other work for 24 s, so that every service lost
its workers; refused beats wrote 320 MB of log.
"""

from wattline_protocol.trust.refusals import RateLimit
from wattline_runtime.wire import FromWorker, WorkerBeat

PER_S = 2_000.0
BURST = 20_000
"""Late chunks of streams whose clients have left are the most that an honest worker sends."""
BEAT_COST = 100
"""Of these: 20 beats a second; a worker sends two."""
MALFORMED_COST = 1_000
MUTED_S = 10.0
"""Longer than the silence after which a worker counts as lost."""
MOST_KEPT = 4_096


class UnsolicitedLimit:
    """Workers by public key: how much each has sent, and which are muted."""

    def __init__(self) -> None:
        self._rate = RateLimit(PER_S, BURST)
        self._muted: dict[str, float] = {}
        """Until when."""

    def is_muted(self, public_key: str, now_s: float) -> bool:
        """True: what it sends is dropped unread. It is lost as if it were silent, and its requests
        go to other workers."""
        return bool(self._muted) and self._muted.get(public_key, 0.0) > now_s

    def allows(self, public_key: str, message: FromWorker | None, now_s: float) -> bool:
        """Whether a worker may send one more; it is muted otherwise. None: a malformed frame."""
        if len(self._rate) > MOST_KEPT:
            self._rate.forget_full(now_s)
        cost = BEAT_COST if isinstance(message, WorkerBeat) else 1
        if self._rate.allows(public_key, now_s, MALFORMED_COST if message is None else cost):
            return True
        self._muted = {key: until_s for key, until_s in self._muted.items() if until_s > now_s}
        self._muted[public_key] = now_s + MUTED_S
        return False
