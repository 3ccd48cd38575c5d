"""Frames between gateway and worker: limits."""

import msgspec
import pytest

from wattline_protocol.wire.codec import MalformedMessage
from wattline_runtime.wire import (
    MAX_FRAME_BYTES,
    MAX_FRAME_MESSAGES,
    MAX_ITEM_BYTES,
    CancelInfer,
    FrameCodec,
    FromWorker,
    Infer,
    ToWorker,
    WorkerBeat,
)

CODEC: FrameCodec[ToWorker] = FrameCodec(ToWorker)


def test_large_items_are_split_over_frames_below_the_limit() -> None:
    messages: list[ToWorker] = [Infer(n, 1000, b"x" * MAX_ITEM_BYTES) for n in range(10)]
    frames = CODEC.frames(messages)
    assert len(frames) == 4
    assert all(len(frame) <= MAX_FRAME_BYTES for frame in frames)
    assert [m for frame in frames for m in CODEC.messages(frame)] == messages


def test_many_small_messages_share_frames_up_to_a_count() -> None:
    frames = CODEC.frames([CancelInfer(n) for n in range(MAX_FRAME_MESSAGES + 1)])
    assert [len(CODEC.messages(frame)) for frame in frames] == [MAX_FRAME_MESSAGES, 1]


def test_a_frame_over_a_limit_is_malformed() -> None:
    too_many = msgspec.msgpack.encode([{"t": "cancel_infer", "id": 1}] * (MAX_FRAME_MESSAGES + 1))
    with pytest.raises(MalformedMessage, match="at most 1024"):
        CODEC.messages(too_many)
    with pytest.raises(MalformedMessage, match="allowed"):
        CODEC.messages(b"\x90" * (MAX_FRAME_BYTES + 1))


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        ([{"t": "launch", "id": 1}], "launch"),
        ([{"t": "reply", "id": "one", "output": b""}], "id"),
        ([{"t": "failure", "id": 1, "reason": "bored"}], "reason"),
        ({"t": "reply"}, "array"),
    ],
)
def test_what_is_wrong_with_a_message_is_named(frame: object, why: str) -> None:
    with pytest.raises(MalformedMessage, match=why):
        FrameCodec[FromWorker](FromWorker).messages(msgspec.msgpack.encode(frame))


def test_beats_of_older_and_of_newer_workers_are_understood() -> None:
    old = {"t": "worker_beat", "protocol": 1, "service": "s", "capacity": 2, "queued": 0}
    frame = msgspec.msgpack.encode([{**old, "running": 1}, {**old, "running": 1, "colour": "red"}])
    beat = WorkerBeat(1, "s", 2, 0, 1, is_draining=False, batch_s=0.0, lone_s=0.0)
    assert FrameCodec[FromWorker](FromWorker).messages(frame) == [beat, beat]
