"""The header traceparent, as https://www.w3.org/TR/trace-context/ defines it."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.programs.serving import GatewayBench, name
from wattline_runtime.gateway import events as e
from wattline_runtime.gateway.client import header, trace_of, traced
from wattline_runtime.trace_context import trace_id_of, valid_traceparent
from wattline_runtime.wire import FrameCodec, Infer, ToWorker

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VALID = f"00-{TRACE}-{PARENT}-01"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (VALID, VALID),
        (f" {VALID}\t", VALID),
        (f"00-{TRACE}-{PARENT}-ff", f"00-{TRACE}-{PARENT}-ff"),
        (f"cc-{TRACE}-{PARENT}-03", f"00-{TRACE}-{PARENT}-01"),
        (f"cc-{TRACE}-{PARENT}-02-what-the-future-brings", f"00-{TRACE}-{PARENT}-00"),
        (f"cc-{TRACE}-{PARENT}-01.what", ""),
        (f"{VALID}-more", ""),
        (f"ff-{TRACE}-{PARENT}-01", ""),
        (f"00-{TRACE.upper()}-{PARENT}-01", ""),
        (f"00-{'0' * 32}-{PARENT}-01", ""),
        (f"00-{TRACE}-{'0' * 16}-01", ""),
        (f"00-{TRACE[:-1]}-{PARENT}-01", ""),
        (f"00-{TRACE}-{PARENT}", ""),
        (f"cc-{TRACE}-{PARENT}-01-{'x' * 1000}", ""),
        ("", ""),
    ],
)
def test_an_invalid_header_is_ignored(text: str, expected: str) -> None:
    assert valid_traceparent(text) == expected


@given(st.text(max_size=70) | st.text("0123456789abcdef-", min_size=50, max_size=60))
def test_what_is_passed_on_is_valid_and_safe_as_a_header(text: str) -> None:
    found = valid_traceparent(text)
    assert not found or (len(found) == 55 and found.isascii() and valid_traceparent(found) == found)


def scope(*values: str) -> dict[str, Any]:
    made = {"headers": [(b"traceparent", value.encode()) for value in values]}
    header(made, b"content-length")  # as `read_body` does
    return made


def test_a_request_without_a_header_keeps_its_kind() -> None:
    assert traced(scope(), e.PLAIN) is e.PLAIN
    assert traced(scope("nonsense"), e.PLAIN) is e.PLAIN
    assert traced(scope(VALID, VALID), e.PLAIN) is e.PLAIN
    once = scope(VALID)
    kind = traced(once, e.RequestKind(rank=0))
    assert (kind.rank, kind.trace) == (0, e.Trace(VALID))
    assert trace_of(once) is kind.trace
    assert trace_id_of(VALID) == TRACE


def test_a_worker_gets_the_trace_of_each_try_and_the_time_of_the_first() -> None:
    bench = GatewayBench().routes(1, 2).worker(1).worker(2)
    trace = e.Trace(VALID)
    kind = e.RequestKind(trace=trace)
    bench.happens(e.Submitted(1, "svc", b"in", bench.now_s + 60, kind=kind))
    bench.submit(2)
    sent = {m.id: m for _, m in bench.sent if isinstance(m, Infer)}
    assert (sent[1].traceparent, sent[2].traceparent) == (VALID, "")
    assert trace.sent_s == bench.now_s
    first_s = bench.now_s
    holder = next(c for c, m in bench.sent if isinstance(m, Infer) and m.id == 1)
    bench.later(0.1)
    bench.happens(e.WorkerDisconnected(holder))
    other = 1 if holder == name(2) else 2
    bench.reply(other, 2)  # a request that a lost worker had is retried alone
    tries = [m.traceparent for c, m in bench.sent if c == name(other) and isinstance(m, Infer)]
    assert tries[-1] == VALID
    assert trace.sent_s == first_s


def test_the_field_is_optional_on_the_wire() -> None:
    plain, with_trace = Infer(1, 5, b"1"), Infer(1, 5, b"1", traceparent=VALID)
    assert b"traceparent" not in msgspec.msgpack.encode(plain)
    codec: FrameCodec[ToWorker] = FrameCodec(ToWorker)
    (frame,) = codec.frames([plain, with_trace])
    assert codec.messages(frame) == [plain, with_trace]

    class OldInfer(msgspec.Struct, frozen=True, tag_field="t", tag="infer"):
        """As the release before had it."""

        id: int
        budget_ms: int
        input: bytes
        method: str = "predict"

    old = msgspec.msgpack.decode(frame, type=list[OldInfer])
    assert [one.id for one in old] == [1, 1]
