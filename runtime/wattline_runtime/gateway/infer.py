"""`POST /v1/services/{service}/infer`: the one route that has to be fast, as a bare ASGI app.

Inputs are checked to be JSON but not decoded: their bytes are passed to the worker unchanged, and
the worker's output bytes are copied into the answer.
"""

import asyncio
import time
from collections.abc import Awaitable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

import msgspec
from starlette.types import Receive, Scope, Send

from wattline_protocol.routing.model import PublicRoute
from wattline_runtime.gateway.access.check import Access
from wattline_runtime.gateway.access.key_ring import ApiKey
from wattline_runtime.gateway.access.priority import rank_of
from wattline_runtime.gateway.answers.answer_size import AnswerSize
from wattline_runtime.gateway.answers.answers import Answers, entry_name
from wattline_runtime.gateway.answers.fallback import first_deadline_s, settle
from wattline_runtime.gateway.answers.joules import energy_of, joules_header, total_uj
from wattline_runtime.gateway.client import (
    ClientDisconnected,
    header,
    read_body,
    timeout_ms,
    traced,
)
from wattline_runtime.gateway.config import GatewayConfig
from wattline_runtime.gateway.connections.direct import send_answer
from wattline_runtime.gateway.errors import (
    CLIENT_GONE_STATUS,
    STATUS,
    BadRequest,
    as_json,
    headers,
)
from wattline_runtime.gateway.events import PLAIN, PRIORITIES, Outcome, Output, RequestKind
from wattline_runtime.gateway.routing.inputs import cascade_inputs
from wattline_runtime.gateway.routing.router import Choice, Router
from wattline_runtime.gateway.shell import GatewayShell, Waiter

OCTETS = "application/octet-stream"
OCTETS_HEADER = (b"content-type", OCTETS.encode())
RANKS = range(len(PRIORITIES))
KINDS = tuple(PLAIN if rank == PLAIN.rank else RequestKind(rank=rank) for rank in RANKS)
"""By priority; most requests are plain ones, which the core finds by identity."""
BYTES = tuple(RequestKind(is_bytes=True, rank=rank) for rank in RANKS)
JSON = (b"content-type", b"application/json")

LARGE_BYTES = 1024 * 1024
"""An answer of more takes a millisecond and more to make."""

HIT = (b"wattline-cache", b"hit")
MISS = (b"wattline-cache", b"miss")
FALLBACK = (b"wattline-answer", b"fallback")


class InferBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of a request: `input` or `inputs`, and optionally a timeout."""

    input: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    inputs: list[msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET
    timeout_ms: int | msgspec.UnsetType = msgspec.UNSET


class Ask(NamedTuple):
    """A parsed request."""

    inputs: list[bytes]
    is_single: bool
    deadline_s: float
    may_share: bool
    """Its answers may be kept, and be those of an equal request."""
    kind: RequestKind


class InferApp:
    """ASGI app of the infer route; the service's name is in `path_params`."""

    def __init__(
        self,
        shell: GatewayShell,
        answers: Answers,
        config: GatewayConfig,
        access: Access,
        router: Router,
    ) -> None:
        self._shell = shell
        self._answers = answers
        self._config = config
        self._access = access
        self._router = router
        self._decoder = msgspec.json.Decoder(InferBody)
        self._large = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, always: with outputs, or with an error and its reason."""
        start_s = time.monotonic()
        service: str = scope["path_params"]["service"]
        data, reason = b"", ""
        try:
            if scope["method"] != "POST":
                raise BadRequest("method", f"{scope['method']} is not allowed here, POST is")
            is_early = self._access.is_early
            until_s = start_s + timeout_ms(scope, self._config) / 1000 if is_early else start_s
            key = await self._access.require(scope, service, until_s)
            if self._shell.is_early:
                await self._router.wait(start_s + timeout_ms(scope, self._config) / 1000)
            route = self._shell.public.get(service)
            most_bytes = self._config.max_body_bytes
            data = await read_body(scope, receive, most_bytes, self._shell.bodies)
            read = self._bytes if header(scope, b"content-type") == OCTETS else self._understand
            ask = read(scope, data, rank_of(scope, key), start_s)
            if key is not None:
                self._access.charge(key, len(ask.inputs))
            if route is None:
                output, extra, _ = await self._answer(service, scope, ask, key, receive)
            else:
                output, extra = await self._routed(route, scope, data, ask, key, receive)
        except BadRequest as error:
            reason = error.reason
            await self._send_error(send, error)
            self._shell.count(service, STATUS[reason], reason, start_s)
        except ClientDisconnected:
            reason = "client_gone"
            self._shell.count(service, CLIENT_GONE_STATUS, reason, start_s)
        else:
            is_bytes = OCTETS_HEADER in extra
            named = extra if is_bytes else (JSON, *extra)
            await send_answer(send, 200, named, output, is_last=self._shell.is_draining)
            self._shell.count(service, 200, "", start_s)
        self._access.ended(scope, service, reason, data)

    # --- reading

    def _understand(self, scope: Scope, data: bytes, rank: int, start_s: float) -> Ask:
        try:
            body = self._decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            expected = 'expected {"input": …} or {"inputs": […]}'
            raise BadRequest("malformed", f"{error}; {expected}") from error
        deadline_s = start_s + timeout_ms(scope, self._config, body.timeout_ms) / 1000
        control = header(scope, b"cache-control") if self._answers.caches else None
        may_share = control is None or "no-store" not in control.lower()
        kind = traced(scope, KINDS[rank])
        if isinstance(body.input, msgspec.Raw) and body.inputs is msgspec.UNSET:
            return Ask([bytes(body.input)], True, deadline_s, may_share, kind)
        if body.input is msgspec.UNSET and isinstance(body.inputs, list):
            if not 1 <= len(body.inputs) <= self._config.max_inputs:
                text = f"{len(body.inputs)} inputs; 1 to {self._config.max_inputs} are accepted"
                raise BadRequest("malformed", text)
            inputs = [bytes(raw) for raw in body.inputs]
            return Ask(inputs, False, deadline_s, may_share, kind)
        raise BadRequest("malformed", "expected either `input` or `inputs`")

    def _bytes(self, scope: Scope, data: bytes, rank: int, start_s: float) -> Ask:
        deadline_s = start_s + timeout_ms(scope, self._config) / 1000
        return Ask([data], True, deadline_s, False, traced(scope, BYTES[rank]))

    # --- answering

    async def _answer(
        self, service: str, scope: Scope, ask: Ask, key: ApiKey | None, receive: Receive
    ) -> tuple[bytes, list[tuple[bytes, bytes]], Sequence[str]]:
        """Body, extra headers, and what answered the inputs where it was something else."""
        if ask.kind.is_bytes:
            return *(await self._answer_bytes(service, scope, ask, key, receive)), ()
        seen = None if key is None else key.services
        answers, chain = self._answers, self._answers.fallback(service)
        until_s = ask.deadline_s
        if chain:
            until_s = first_deadline_s(chain, time.monotonic(), until_s)
        numbers: list[int] = []
        waiters: list[Waiter] = []
        is_hit, may_share = True, ask.may_share
        for data in ask.inputs:
            number, waiter, is_shared = answers.submit(
                service, data, until_s, seen, ask.kind, may_share=may_share
            )
            numbers.append(number)
            waiters.append(waiter)
            is_hit = is_hit and is_shared
        extra: list[tuple[bytes, bytes]] = []
        by: Sequence[str] = ()
        if answers.keeps(service):
            extra.append(HIT if is_hit else MISS)
        size = AnswerSize(partial(_abandon_all, answers, numbers))
        watch = answers.watch(receive, numbers)
        try:
            if chain:
                settled = await asyncio.gather(
                    *(
                        _sized(
                            size,
                            settle(
                                answers,
                                service,
                                data,
                                ask.deadline_s,
                                seen,
                                waiter,
                                numbers,
                                ask.kind,
                                may_share=ask.may_share,
                            ),
                        )
                        for data, waiter in zip(ask.inputs, waiters, strict=True)
                    )
                )
                if any(entry for _, entry in settled):
                    extra.append(FALLBACK)
                    by = [entry_name(entry) or service for _, entry in settled]
                outcomes = [outcome for outcome, _ in settled]
                outputs = _outputs(outcomes, ask.is_single, key)
            else:
                outcomes, outputs = [], []
                if len(waiters) > 1:
                    for waiter in waiters:
                        size.watch(waiter)
                for position, waiter in enumerate(waiters):
                    where = "" if ask.is_single else f"input {position}: "
                    outcomes.append(await waiter)
                    size.add(outcomes[-1])
                    outputs.append(_output(outcomes[-1], where, key))
        except BaseException:
            _abandon_all(answers, numbers)  # those still open when one input failed
            raise
        finally:
            watch.end()
        extra.extend(joules_header(scope, total_uj(map(energy_of, outcomes))))
        return await self._body(outputs, ask.is_single), extra, by

    async def _routed(
        self,
        route: PublicRoute,
        scope: Scope,
        data: bytes,
        ask: Ask,
        key: ApiKey | None,
        receive: Receive,
    ) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        """As `_answer`, by the service that the route chooses."""
        router = self._router
        choice = router.choose(route, scope, data, len(ask.inputs), key)
        if choice.target.is_cascade:
            return await self._cascade(choice, scope, ask, key, receive)
        body, extra, by = await self._answer(choice.service, scope, ask, key, receive)
        return body, [*extra, *router.answered(scope, choice, by)]

    async def _cascade(
        self, choice: Choice, scope: Scope, ask: Ask, key: ApiKey | None, receive: Receive
    ) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        ended = await cascade_inputs(
            self._answers,
            choice.target,
            ask.inputs,
            ask.deadline_s,
            ask.kind,
            receive,
            None if key is None else key.services,
            may_share=ask.may_share,
        )
        extra = self._router.cascaded(choice, scope, ended)
        parts = [part for part, _ in ended]
        if key is not None:
            key.tokens.spend(sum(part.spent for part in parts))
            key.draw(total_uj(part.spent_uj for part in parts))
        extra.extend(joules_header(scope, total_uj(part.energy_uj for part in parts)))
        if any(map(self._answers.keeps, choice.target.services)):
            extra.append(HIT if all(part.is_hit for part in parts) else MISS)
        if any(part.is_fallback for part in parts):
            extra.append(FALLBACK)
        outputs = _outputs((part.outcome for part in parts), ask.is_single, key)
        last = parts[-1].outcome
        if isinstance(last, Output) and last.is_bytes:
            return outputs[-1], [OCTETS_HEADER, *extra]
        return await self._body(outputs, ask.is_single), extra

    async def _answer_bytes(
        self, service: str, scope: Scope, ask: Ask, key: ApiKey | None, receive: Receive
    ) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        """As `_answer`, for one input that is bytes; nothing is kept or shared."""
        seen = None if key is None else key.services
        (data,) = ask.inputs
        number, waiter = self._shell.submit(service, data, ask.deadline_s, seen, ask.kind)
        watch = self._shell.watch(receive, [number])
        try:
            outcome = await waiter
        finally:
            watch.end()
            self._shell.abandon(number)
        body = _output(outcome, "", key)
        extra = [*joules_header(scope, energy_of(outcome))]
        if isinstance(outcome, Output) and outcome.is_bytes:
            return body, [OCTETS_HEADER, *extra]
        return b'{"output":' + body + b"}", extra

    async def _body(self, outputs: list[bytes], is_single: bool) -> bytes:
        """Of several outputs one copy. Large ones are made one after another, a turn of the loop
        each, so that others have theirs, and what is unread counts before the next is made."""
        if is_single:
            return b'{"output":' + outputs[0] + b"}"
        if sum(map(len, outputs)) > LARGE_BYTES:
            async with self._large:
                await asyncio.sleep(0)
        return b'{"outputs":[' + b",".join(outputs) + b"]}"

    async def _send_error(self, send: Send, error: BadRequest) -> None:
        extra = [(name.encode(), value.encode()) for name, value in headers(error)]
        body, is_last = msgspec.json.encode(as_json(error)), self._shell.is_draining
        await send_answer(send, STATUS[error.reason], (JSON, *extra), body, is_last=is_last)


def _abandon_all(answers: Answers, numbers: Iterable[int]) -> None:
    for number in numbers:
        answers.abandon(number)


async def _sized(
    size: AnswerSize, settled: Awaitable[tuple[Outcome | None, str]]
) -> tuple[Outcome | None, str]:
    """What has settled, whose size counts as soon as it has."""
    outcome, entry = await settled
    size.add(outcome)
    return outcome, entry


def _outputs(
    outcomes: Iterable[Outcome | None], is_single: bool, key: ApiKey | None
) -> list[bytes]:
    return [
        _output(outcome, "" if is_single else f"input {position}: ", key)
        for position, outcome in enumerate(outcomes)
    ]


def _output(outcome: Outcome | None, where: str, key: ApiKey | None) -> bytes:
    """The body of an output, whose tokens and energy the key has used."""
    if isinstance(outcome, Output):
        if key is not None:
            key.tokens.spend(outcome.tokens)
            key.draw(outcome.energy_uj)
        return outcome.body
    if outcome is None:
        raise ClientDisconnected
    raise BadRequest(outcome.reason, where + outcome.message, outcome.retry_after_s)
