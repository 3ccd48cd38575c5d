"""Size of all outputs of one request, which are held until the last of them has come.

A request has up to 256 inputs and each output up to 1 MiB: without a limit for all of them four
requests for kept answers took 1.3 GB, and others waited for three seconds.
"""

from collections.abc import Callable

from wattline_runtime.gateway.errors import BadRequest
from wattline_runtime.gateway.events import Outcome, Output
from wattline_runtime.gateway.shell import Waiter

MAX_ANSWER_BYTES = 16 * 1024 * 1024


class AnswerSize:
    """Outputs of one request so far, those of both stages of a cascade included."""

    __slots__ = ("_abandon", "_come_bytes", "_taken_bytes")

    def __init__(self, abandon: Callable[[], None]) -> None:
        """`abandon`: ends what is left of the request, once it is too large."""
        self._abandon = abandon
        self._come_bytes = self._taken_bytes = 0

    def watch(self, waiter: Waiter) -> None:
        """Count an output as soon as it comes: the request may still wait for an earlier one."""
        waiter.add_done_callback(self._came)

    def add(self, outcome: Outcome | None) -> None:
        """Count an output that the request has taken. Raises BadRequest."""
        self._taken_bytes += _bytes_of(outcome)
        if max(self._taken_bytes, self._come_bytes) > MAX_ANSWER_BYTES:
            most = f"{MAX_ANSWER_BYTES >> 20} MiB"
            text = f"the outputs of this request exceed {most} together; send fewer inputs in one"
            raise BadRequest("output_too_large", text)

    def _came(self, waiter: Waiter) -> None:
        self._come_bytes += 0 if waiter.cancelled() else _bytes_of(waiter.result())
        if self._come_bytes > MAX_ANSWER_BYTES:
            self._abandon()


def _bytes_of(outcome: Outcome | None) -> int:
    return len(outcome.body) if isinstance(outcome, Output) else 0
