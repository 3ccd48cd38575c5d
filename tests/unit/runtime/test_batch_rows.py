"""Rows of batches, their results, and what is kept of an output that a crash has torn."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.programs.serving import GatewayBench
from wattline_runtime.gateway.batches.idle_slots import IdleSlots
from wattline_runtime.gateway.batches.rows import (
    Position,
    RowInvalid,
    error_line,
    output_line,
    read_row,
    whole_prefix,
)
from wattline_runtime.gateway.record_streams.in_order import InOrder
from wattline_runtime.gateway.record_streams.lines import Lines, LineTooLong
from wattline_runtime.gateway.record_streams.retries import MOST_S, retry_delay_s


def test_a_row_is_an_input_or_a_request_of_openai() -> None:
    row = read_row(b'{"input": {"a": 1}, "custom_id": "x"}', "svc")
    assert (row.input, row.custom_id, row.kind.method) == (b'{"a": 1}', "x", "predict")
    body = b'{"url": "/v1/embeddings", "method": "POST", "body": {"model": "svc", "input": [1, 2]}}'
    row = read_row(body, "svc")
    assert (row.kind.method, row.cost) == ("embed", 2)
    assert json.loads(row.input)["model"] == "svc"
    for line in (b"", b"[]", b'{"input": 1} x', b'{"input": NaN}', b"\xff", b"[" * 100_000):
        with pytest.raises(RowInvalid):
            read_row(line, "svc")
    with pytest.raises(RowInvalid, match="1048577 bytes"):
        read_row(b'{"input": "' + b"x" * (2**20 - 1) + b'"}', "svc")


def test_an_output_is_one_line_or_none() -> None:
    assert output_line(3, None, b'{\n "a":\r\n 1}') == b'{"line":3,"output":{  "a":   1}}'
    assert output_line(1, 'a"\n', b"1") == b'{"line":1,"custom_id":"a\\"\\n","output":1}'
    assert output_line(1, None, b"1}{") is None
    assert output_line(1, None, b"") is None
    assert output_line(1, None, b'"\xff"') is None
    for more in (b'1,"line":7', b'1,"custom_id":"x"', b'1,"error":{"reason":"","message":""}'):
        assert output_line(1, None, more) is None


LINES = [
    output_line(n, f"id{n}", b'{"x":[1,2]}') if n % 3 else error_line(n, None, "poison", "\n…")
    for n in range(1, 9)
]
OUTPUT = b"".join((line or b"") + b"\n" for line in LINES)


def position(data: bytes, total: int = 8) -> Position:
    return whole_prefix(data.splitlines(keepends=True), total)


@given(st.integers(0, len(OUTPUT)), st.binary(max_size=20))
def test_the_longest_prefix_of_whole_results_is_kept(cut: int, torn: bytes) -> None:
    """Whatever lies behind it: nothing, half a line, or blocks that were never written."""
    whole = OUTPUT[:cut].count(b"\n")
    expected = Position(whole, whole // 3, len(b"".join(OUTPUT.splitlines(keepends=True)[:whole])))
    assert position(OUTPUT[:cut]) == expected
    assert position(OUTPUT[: expected.size_bytes] + torn) == expected
    assert position(OUTPUT[: expected.size_bytes] + b"\0" * 50 + b"\n" + OUTPUT) == expected


def test_a_repeated_or_missing_result_is_not_kept() -> None:
    lines = OUTPUT.splitlines(keepends=True)
    assert position(b"".join(lines[:3] + lines[2:])).rows == 3
    assert position(b"".join(lines[:3] + lines[4:])).rows == 3
    assert position(OUTPUT, total=5).rows == 5


@given(st.permutations(range(1, 9)), st.lists(st.booleans(), min_size=8, max_size=8))
def test_answers_come_out_in_order(order: list[int], takes: list[bool]) -> None:
    window: InOrder[int] = InOrder(1)
    taken: list[int] = []
    for number, is_taken in zip(order, takes, strict=True):
        window.put(number, number)
        if is_taken:
            taken += window.take()
            assert not window.has_next
    taken += window.take()
    assert taken == [*range(1, 9)]
    with pytest.raises(ValueError, match="second time"):
        window.put(8, 8)


@given(st.lists(st.binary(max_size=6).filter(lambda b: b"\n" not in b)), st.integers(1, 5))
def test_lines_of_a_body_in_pieces(lines: list[bytes], size: int) -> None:
    body = b"\n".join(lines)
    found, split = [], Lines(6)
    for start in range(0, len(body), size):
        found += split.feed(body[start : start + size])
    found += split.last()
    expected = [line.removesuffix(b"\r") for line in lines]
    assert found == (expected[:-1] if expected and not expected[-1] else expected)


def test_a_line_is_bounded_before_it_ends() -> None:
    split = Lines(10)
    assert split.feed(b"x" * 10) == []
    with pytest.raises(LineTooLong):
        split.feed(b"x")


def test_what_the_service_refuses_is_tried_again_and_what_the_input_causes_is_not() -> None:
    delays = [retry_delay_s("no_worker", tries) for tries in range(1, 400)]
    assert delays[:3] == [0.1, 0.2, 0.4]
    assert delays[-1] == MOST_S
    assert retry_delay_s("queue_full", 1, 7) == 7
    assert retry_delay_s("deadline", 1) is not None
    for reason in ("model_error", "bad_input", "poison", "output_too_large", "no_method"):
        assert retry_delay_s(reason, 1) is None
    assert retry_delay_s("deadline", 3) is None


def test_batches_have_half_of_the_slots_that_requests_leave() -> None:
    bench = GatewayBench().routes(1).worker(1, capacity=8)
    slots = IdleSlots(bench.gateway.queue.services)
    slots.enter("svc")
    assert not slots.take("other", 0)
    assert [slots.take("svc", n) for n in range(5)] == [True] * 4 + [False]
    slots.enter("svc")  # a second batch: two slots each
    for _ in range(3):
        slots.release("svc")
    assert not slots.take("svc", 2)
    assert slots.take("svc", 1)
    assert slots.take("svc", 0)
    slots.leave("svc")
    bench.submit(*range(8))
    for _ in range(3):
        slots.release("svc")
    assert not slots.take("svc", 0)  # every slot is taken by requests
    bench.reply(1, 0)
    assert slots.take("svc", 0)
    slots.release("svc")
    bench.submit(8, 9)
    assert not slots.take("svc", 0)  # one waits
