"""Rows of a batch and their results, as lines of JSON. No I/O."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec

from wattline_runtime.gateway.events import BATCH, RequestKind
from wattline_runtime.gateway.record_streams.lines import one_line
from wattline_runtime.gateway.streams.openai import MAX_TEXTS, METHOD_OF, OpenAiBody
from wattline_runtime.wire import EMBED, MAX_ITEM_BYTES, PREDICT

CustomId = Annotated[str, msgspec.Meta(max_length=512)]
Url = Literal["/v1/chat/completions", "/v1/completions", "/v1/embeddings"]

MAX_LINE_BYTES = MAX_ITEM_BYTES + 8 * 1024
"""An input, and the other fields of a row."""
EXPECTED = 'expected {"input": …} or {"url": "/v1/chat/completions", "body": {"model": SERVICE, …}}'


class RowInvalid(ValueError):
    """A line is no row; the text says why."""


class RowTooLarge(RowInvalid):
    """Its input exceeds the limit of one request."""


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of the input: an input of `/infer`, or a request of OpenAI's routes."""

    input: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    body: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    url: Url | None = None
    method: Literal["POST"] = "POST"
    custom_id: CustomId | None = None


class Error(msgspec.Struct, frozen=True):
    """Why a row has no output."""

    reason: str
    message: str


class Result(msgspec.Struct, frozen=True):
    """A line of the output."""

    line: int
    output: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    custom_id: str | None = None
    error: Error | None = None


@dataclass(frozen=True, slots=True)
class RowRequest:
    """Request of a row to its service."""

    input: bytes
    kind: RequestKind
    custom_id: str | None
    cost: int = 1
    """Inputs, for the rate of its key."""


_PREDICT = RequestKind(rank=BATCH)
_KINDS = {url: RequestKind(method, rank=BATCH) for url, method in METHOD_OF.items()}
_rows = msgspec.json.Decoder(Row)
_bodies = msgspec.json.Decoder(OpenAiBody)
_results = msgspec.json.Decoder(Result)
_Undecodable = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def read_row(line: bytes, service: str) -> RowRequest:
    """The request of a line of the input. Raises RowInvalid."""
    try:
        row = _rows.decode(line)
        if row.url is None and isinstance(row.input, msgspec.Raw) and row.body is msgspec.UNSET:
            return RowRequest(_within(bytes(row.input)), _PREDICT, row.custom_id)
        if (
            row.url is None
            or row.input is not msgspec.UNSET
            or not isinstance(row.body, msgspec.Raw)
        ):
            raise RowInvalid(EXPECTED)
        body = _bodies.decode(row.body)
        kind = _KINDS[row.url]
        cost = body.texts if kind.method == EMBED else 1
    except _Undecodable as error:
        raise RowInvalid(f"{error}; {EXPECTED}") from error
    if body.model != service:
        raise RowInvalid(f"`model` of its body is not {service!r}, the service of this batch")
    if body.stream and kind.method != EMBED:
        raise RowInvalid("`stream` is true; a row has one result, leave it out")
    if cost > MAX_TEXTS:
        raise RowInvalid(f"`input` has {cost} texts; at most {MAX_TEXTS} are accepted")
    return RowRequest(_within(bytes(row.body)), kind, row.custom_id, cost)


def _within(data: bytes) -> bytes:
    if len(data) > MAX_ITEM_BYTES:
        text = f"its input has {len(data)} bytes; at most {MAX_ITEM_BYTES} are accepted"
        raise RowTooLarge(text)
    return data


def may_share(request: RowRequest) -> bool:
    """Whether the cache of the service holds answers to such requests."""
    return request.kind.method == PREDICT


def output_line(number: int, custom_id: str | None, output: bytes) -> bytes | None:
    """Result of a row with an output; None: the output is no JSON."""
    line = one_line(output)
    return None if line is None else _head(number, custom_id) + b',"output":' + line + b"}"


def error_line(number: int, custom_id: str | None, reason: str, message: str) -> bytes:
    """Result of a row without an output."""
    error = msgspec.json.encode(Error(reason, message))
    return _head(number, custom_id) + b',"error":' + error + b"}"


def _head(number: int, custom_id: str | None) -> bytes:
    head = b'{"line":%d' % number
    if custom_id is None:
        return head
    return head + b',"custom_id":' + msgspec.json.encode(custom_id)


def _result(line: bytes) -> Result | None:
    try:
        return _results.decode(line)
    except _Undecodable:
        return None


@dataclass(frozen=True, slots=True)
class Position:
    """How far the output of a batch has come."""

    rows: int = 0
    failed: int = 0
    size_bytes: int = 0


def whole_prefix(lines: Iterable[bytes], total: int) -> Position:
    """The end of the first lines, with their line breaks, that are whole results with consecutive
    numbers: what a crash left of the output."""
    position = Position()
    for line in lines:
        result = _result(line) if line.endswith(b"\n") and position.rows < total else None
        if result is None or result.line != position.rows + 1:
            break
        position = Position(
            position.rows + 1,
            position.failed + (result.error is not None),
            position.size_bytes + len(line),
        )
    return position
