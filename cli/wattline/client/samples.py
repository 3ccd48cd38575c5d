"""Samples of inputs, and the answer of a service to one, over a connection that stays open."""

import http.client
import time
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any
from urllib.parse import quote

import msgspec

from wattline.client.gateway_http import GatewayHttp

MAX_SAMPLE_BYTES = 1024 * 1024
MAX_ANSWER_BYTES = 4 * MAX_SAMPLE_BYTES
MAX_SAMPLES = 100_000
FINAL = (401, 403, 404, 405)
"""Refusals that every further request would get too."""
KINDS = {"messages": "/v1/chat/completions", "prompt": "/v1/completions"}
EXPECTED = 'expected {"input": …}, {"messages": […]} or {"prompt": …}'


ABSENT = msgspec.Raw(b"null")


class BadSample(ValueError):
    """A line that is no sample."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One input."""

    fields: Mapping[str, msgspec.Raw]
    path: str
    """Of OpenAI's routes; empty = of the service's own."""

    def request(self, service: str) -> tuple[str, bytes]:
        """Path and body for a service."""
        if not self.path:
            return f"/v1/services/{quote(service, safe='')}/infer", msgspec.json.encode(self.fields)
        return self.path, msgspec.json.encode({**self.fields, "model": service})


def parse_sample(line: bytes) -> Sample:
    """Raises BadSample."""
    if len(line) > MAX_SAMPLE_BYTES:
        raise BadSample(f"{len(line)} bytes; a sample has at most {MAX_SAMPLE_BYTES}")
    try:
        fields = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadSample(f"{error}; {EXPECTED}") from error
    if set(fields) == {"input"}:
        return Sample(fields, "")
    found = [path for name, path in KINDS.items() if name in fields]
    if len(found) != 1:
        raise BadSample(f"it has {', '.join(sorted(fields)[:10]) or 'no field'}; {EXPECTED}")
    if bytes(fields.get("stream", msgspec.Raw(b"false"))) != b"false":
        raise BadSample("its answer is a stream, which is not compared: leave out `stream`")
    return Sample(fields, found[0])


class Answered(msgspec.Struct, frozen=True):
    """An output and what it took."""

    output: bytes
    """JSON."""
    seconds: float
    joules: float | None = None
    """None: not measured."""
    tokens: int = 0
    """0: not reported."""


class Refused(msgspec.Struct, frozen=True):
    """No output."""

    text: str


class _Choice(msgspec.Struct):
    message: msgspec.Raw = ABSENT
    text: msgspec.Raw = ABSENT


class _Usage(msgspec.Struct):
    total_tokens: int = 0


class _Body(msgspec.Struct):
    output: msgspec.Raw = ABSENT
    choices: list[_Choice] = []
    usage: _Usage | None = None


class _Equal(msgspec.Struct):
    equal: bool


class Asker:
    """Asks services of a gateway, one request after another."""

    def __init__(self, gateway: GatewayHttp) -> None:
        self._gateway = gateway
        self._connection = gateway.connection()
        self._headers = {
            **gateway.headers,
            "content-type": "application/json",
            "cache-control": "no-store",  # each answer is to be a run of the model
        }

    def close(self) -> None:
        """End its connection."""
        self._connection.close()

    def ask(self, service: str, sample: Sample) -> Answered | Refused:
        """The answer to a sample. Raises WattlineError for what further requests would get too."""
        path, body = sample.request(service)
        began_s = time.perf_counter()
        status, headers, data = self.post(path, body)
        seconds = time.perf_counter() - began_s
        if status in FINAL:
            self._gateway.refuse(status, data)
        if status != 200:
            return Refused(f"{status}: {self._gateway.refusal(status, data)}")
        return answer_of(data, headers, seconds)

    def compare(self, service: str, old: bytes, new: bytes) -> bool | None:
        """Whether the service's model considers two outputs equal; None: it gave no answer. Raises
        WattlineError where it has no such method."""
        path = f"/v1/services/{quote(service, safe='')}/compare"
        status, _, data = self.post(path, b'{"old":%b,"new":%b}' % (old, new))
        if status in FINAL:
            self._gateway.refuse(status, data)
        try:
            return msgspec.json.decode(data, type=_Equal).equal if status == 200 else None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    def post(self, path: str, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body of an answer. Raises Unreachable."""
        try:
            try:
                return self._post(path, body)
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                self._connection.close()  # the gateway has ended a connection that was idle
                return self._post(path, body)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise self._gateway.unreachable(error) from error

    def _post(self, path: str, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        self._connection.request("POST", path, body, self._headers)
        response = self._connection.getresponse()
        data = response.read(MAX_ANSWER_BYTES + 1)
        if len(data) > MAX_ANSWER_BYTES:
            raise http.client.HTTPException(f"its answer exceeds {MAX_ANSWER_BYTES} bytes")
        return response.status, {k.lower(): v for k, v in response.getheaders()}, data


def answer_of(data: bytes, headers: Mapping[str, str], seconds: float) -> Answered | Refused:
    """The answer in a body."""
    try:
        body = msgspec.json.decode(data, type=_Body)
        joules = _joules(headers.get("wattline-joules"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        return Refused(f"its answer is none of a service: {error}")
    output: Any = body.output
    if output is ABSENT:
        output = [one.text if one.message is ABSENT else one.message for one in body.choices]
    tokens = 0 if body.usage is None else body.usage.total_tokens
    return Answered(msgspec.json.encode(output), seconds, joules, tokens)


def _joules(text: str | None) -> float | None:
    """None: not measured. Raises ValueError."""
    if text is None:
        return None
    found = float(text)
    if not 0 <= found < inf:
        raise ValueError(f"wattline-joules is {text[:100]!r}")
    return found
