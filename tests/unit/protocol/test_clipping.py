"""Whatever an honest sender says is heard: outside the bounds it is clipped, not lost."""

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.strategies.structs import values_of
from wattline_protocol.ids import Epoch, GpuIndex, Incarnation, Sequence, UnixTime
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.text.quantities import MAX_AMOUNT
from wattline_protocol.wire.agent_messages import (
    Beat,
    FromAgent,
    GpuSample,
    LogChunk,
    Rollup,
    Rollups,
)
from wattline_protocol.wire.agents.host_load import HostLoad, LinkLoad
from wattline_protocol.wire.clipping import clip_builtins, clipped, encoded
from wattline_protocol.wire.codec import Codec

CODEC: Codec[Any] = Codec(FromAgent)
BEAT = Beat(
    epoch=Epoch(1),
    incarnation=Incarnation(1),
    seq=2**64 - 1,
    lease_seq=Sequence(0),
    lease_mw=10**12,
    holding_mw=5,
    gpus=(GpuSample(index=GpuIndex(0), power_mw=10**11, cap_mw=7, energy_mj=2**64 - 1),),
    tasks=(),
    inlet_c=math.nan,
    cpu_pct=math.inf,
    problems=("x" * 300,) * 20,
)


def test_a_beat_that_nobody_would_hear_is_heard() -> None:
    heard = CODEC.decode(CODEC.encode(clipped(BEAT, FromAgent)))
    assert isinstance(heard, Beat)
    assert heard.seq == 2**63 - 1
    assert heard.lease_mw == 10**10
    assert heard.holding_mw == 5
    assert heard.gpus == (GpuSample(index=GpuIndex(0), power_mw=None, cap_mw=7),)
    assert heard.inlet_c is None
    assert heard.problems == ("x" * 200,) * 16


def test_a_disk_and_a_link_beyond_all_bounds_cost_no_beat() -> None:
    link = LinkLoad("e" * 300, received_bytes_s=math.inf, sent_bytes_s=-1.0, speed_bytes_s=math.nan)
    load = HostLoad(disk_bytes=2**70, disk_used_bytes=5, disk_busy=math.nan, link=link)
    beat = msgspec.structs.replace(BEAT, host=load)
    heard = CODEC.decode(CODEC.encode(clipped(beat, FromAgent)))
    assert isinstance(heard, Beat)
    assert heard.host == HostLoad(None, 5, None, LinkLoad("e" * 256, MAX_AMOUNT, 0.0))


def test_what_cannot_be_encoded_at_all_is_heard_too() -> None:
    """It had ended the agent, again after each restart."""
    chunk = LogChunk(request=1, data=b"x", next_offset=10**21, at_end=True, error="a\ud83db")
    with pytest.raises((OverflowError, UnicodeEncodeError)):
        CODEC.encode(chunk)
    data, reason = encoded(CODEC, chunk, FromAgent)
    heard = CODEC.decode(data)
    assert isinstance(heard, LogChunk)
    assert (heard.next_offset, heard.error) == (2**63 - 1, "a?b")
    assert reason
    assert encoded(CODEC, heard, FromAgent) == (data, "")


@settings(max_examples=60, deadline=None)
@given(message=values_of(FromAgent))
def test_what_lies_inside_stays_as_it_is(message: msgspec.Struct) -> None:
    assert clipped(message, FromAgent) == message


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf, -1.0, 1e300])
def test_numbers_of_a_rollup_come_inside(wrong: float) -> None:
    item = Rollup(UnixTime(wrong), wrong, 2**64 - 1, (2**64 - 1,), -1, 2**70)
    clean = clipped(Rollups(Incarnation(1), 2**64 - 1, (item,)), FromAgent)
    assert CODEC.decode(CODEC.encode(clean)) == clean


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=300))
def test_a_stored_job_becomes_one_that_may_travel(text: str) -> None:
    raw = {"name": text, "command": [text], "env": {text: text}, "priority": 2**64 - 1}
    spec = msgspec.convert(clip_builtins(raw, JobSpec), JobSpec)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(spec), type=JobSpec) == spec
    assert "\x1b" not in spec.name
