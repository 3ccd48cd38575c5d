"""Clients of the service: an open loop over two gateways, and what became of each request.

A client tries the other gateway once if its connection is refused or breaks, within the same
deadline, as a client library with two addresses does.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal

import httpx

from wattline_bench.rig.open_loop import OpenLoop

RATE_PER_S = 40.0
DEADLINE_S = 2.0
PATIENCE_S = 3.0
"""Beyond the deadline: whether a late answer came at all."""

Outcome = Literal["answered", "late", "fallback", "refused", "lost"]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    due_s: float
    """Monotonic time when it was due."""
    took_s: float
    outcome: Outcome
    detail: str = ""
    """Of a lost one: what the client saw."""


class Clients(OpenLoop):
    """Requests to both gateways in turn."""

    def __init__(self, gateways: Sequence[str], service: str, headers: dict[str, str]) -> None:
        super().__init__(RATE_PER_S, DEADLINE_S + PATIENCE_S)
        self._urls = [f"{url}/v1/services/{service}/infer" for url in gateways]
        self._headers = {**headers, "timeout-ms": f"{DEADLINE_S * 1e3:.0f}"}
        self.done: list[Asked] = []

    async def send(self, client: httpx.AsyncClient, number: int, due_s: float) -> None:
        """Try one gateway, and the other one if the connection is refused or breaks."""
        first = number % len(self._urls)
        outcome, detail = await self._asked(client, self._urls[first], number)
        if outcome == "broken":
            other = self._urls[(first + 1) % len(self._urls)]
            outcome, again = await self._asked(client, other, number)
            detail = f"{detail}, then {again}"
        took_s = time.monotonic() - due_s
        if outcome == "answered" and took_s > DEADLINE_S:
            outcome = "late"
        found: Outcome = "lost" if outcome == "broken" else outcome
        self.done.append(Asked(due_s, took_s, found, detail))

    async def _asked(
        self, client: httpx.AsyncClient, url: str, number: int
    ) -> tuple[Outcome | Literal["broken"], str]:
        try:
            answer = await client.post(url, json={"input": number}, headers=self._headers)
        except httpx.TimeoutException as error:
            return "lost", repr(error)
        except httpx.TransportError as error:
            return "broken", repr(error)
        if answer.headers.get("wattline-answer") == "fallback":
            return "fallback", ""
        if answer.status_code == HTTPStatus.OK:
            is_right = answer.json().get("output") == number
            return ("answered", "") if is_right else ("lost", f"wrong: {answer.text[:100]}")
        text = f"{answer.status_code} {answer.text[:200]}"
        return "refused" if answer.status_code == HTTPStatus.TOO_MANY_REQUESTS else "lost", text
