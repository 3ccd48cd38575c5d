"""Every field that travels has bounds, and what lies outside is refused with the field's name."""

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from wattline_protocol.ids import Epoch, GpuIndex, Incarnation, Sequence
from wattline_protocol.job.change import changed
from wattline_protocol.job.file import JobFileError, job_from_options
from wattline_protocol.wire.agent_messages import Beat, FromAgent, GpuSample, ToAgent
from wattline_protocol.wire.client_messages import FromClient
from wattline_protocol.wire.codec import Codec, MalformedMessage

UNIONS = {"FromAgent": FromAgent, "ToAgent": ToAgent, "FromClient": FromClient}

BEAT = Beat(
    epoch=Epoch(1),
    incarnation=Incarnation(1),
    seq=1,
    lease_seq=Sequence(0),
    lease_mw=0,
    holding_mw=0,
    gpus=(GpuSample(index=GpuIndex(0), power_mw=1, cap_mw=1),),
    tasks=(),
)
SUBMIT = {"t": "submit", "spec": {"name": "a", "command": ["x"]}, "token": "1"}


def unbounded(form: inspect.Type, path: str) -> Iterator[str]:
    """Where a number, text or sequence has no bound."""
    match form:
        case inspect.StructType(fields=fields, cls=cls):
            for field in fields:
                yield from unbounded(field.type, f"{path}{cls.__name__}.{field.name} ")
        case inspect.UnionType(types=types):
            for one in types:
                yield from unbounded(one, path)
        case inspect.VarTupleType(item_type=item, max_length=most):
            yield from [path] if most is None else []
            yield from unbounded(item, path)
        case inspect.TupleType(item_types=items):
            for one in items:
                yield from unbounded(one, path)
        case inspect.DictType(key_type=key, value_type=item, max_length=most):
            yield from [path] if most is None else []
            yield from unbounded(key, path)
            yield from unbounded(item, path)
        case inspect.StrType(max_length=most) | inspect.BytesType(max_length=most):
            yield from [path] if most is None else []
        case inspect.IntType() | inspect.FloatType():
            has_least = form.ge is not None or form.gt is not None
            has_most = form.le is not None or form.lt is not None
            yield from [] if has_least and has_most else [path]
        case inspect.BoolType() | inspect.NoneType() | inspect.LiteralType():
            pass
        case _:
            yield f"{path}: {form}"


@pytest.mark.parametrize("union", UNIONS)
def test_no_field_is_without_bounds(union: str) -> None:
    assert list(unbounded(inspect.type_info(UNIONS[union]), "")) == []


def refusal(union: Any, message: object) -> str:
    with pytest.raises(MalformedMessage) as refused:
        Codec[Any](union).decode(msgspec.msgpack.encode(message))
    return str(refused.value)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_refused(wrong: float) -> None:
    for field in ("inlet_c", "cpu_pct"):
        beat = {**msgspec.to_builtins(BEAT), field: wrong}
        assert field in refusal(FromAgent, beat)
    report = {"ref": {"job": 1, "task": 0, "attempt": 1}, "phase": "running", "gpus": []}
    beat = {**msgspec.to_builtins(BEAT), "tasks": [{**report, "metrics": {"loss": wrong}}]}
    assert "tasks[0].metrics" in refusal(FromAgent, beat)


def test_a_number_outside_is_named_with_its_bound() -> None:
    hello = {**msgspec.to_builtins(BEAT), "seq": 2**64 - 1}
    assert refusal(FromAgent, hello) == (
        "seq is 18446744073709551615: expected int <= 9223372036854775807"
    )


def test_a_load_out_of_bounds_is_named() -> None:
    plain = msgspec.to_builtins(BEAT)
    link = {"name": "ib0", "received_bytes_s": -1.0, "sent_bytes_s": 0.0}
    assert "host.link.received_bytes_s" in refusal(FromAgent, {**plain, "host": {"link": link}})
    assert "host.disk_bytes" in refusal(FromAgent, {**plain, "host": {"disk_bytes": -1}})


def test_a_beat_of_an_earlier_release_has_no_load() -> None:
    plain = {name: part for name, part in msgspec.to_builtins(BEAT).items() if name != "host"}
    heard = Codec[Any](FromAgent).decode(msgspec.msgpack.encode(plain))
    assert heard == BEAT
    assert heard.host is None


def test_problems_have_a_number_and_a_length() -> None:
    many = {**msgspec.to_builtins(BEAT), "problems": ["x"] * 17}
    assert refusal(FromAgent, many) == "problems has 17 entries: expected array of length <= 16"
    long = {**msgspec.to_builtins(BEAT), "problems": ["x" * 201]}
    assert "problems[0] has 201 characters" in refusal(FromAgent, long)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"t": "drain", "node": "n1", "reason": "see\x1b]0;x\x07"}, "request.reason"),
        ({"t": "shed", "domain": None, "reason": "a\x9bb"}, "request.reason"),
        ({"t": "reserve", "name": "a\x7f"}, "request.name"),
        ({"t": "reserve", "name": "a", "labels": {"a\n": "b"}}, "request.labels"),
        ({**SUBMIT, "spec": {"name": "a\x00", "command": ["x"]}}, "request.spec.name"),
        (
            {**SUBMIT, "spec": {"name": "a", "command": ["x"], "account": "\u202e"}},
            "request.spec.account",
        ),
    ],
)
def test_control_characters_are_refused_with_field_and_character(
    request_: dict[str, Any], field: str
) -> None:
    said = refusal(FromClient, {"t": "ask", "ask": 1, "request": request_})
    assert said.startswith(f"{field} holds the control character U+")
    assert said.isprintable()


def test_changes_of_a_job_hold_no_control_characters() -> None:
    spec = job_from_options(command="x")
    for value in ("a\x1b]0;x\x07", ("Sat-Sun", "a\x9b")):
        with pytest.raises(JobFileError, match=r"--start-only: contains the control character U"):
            changed(spec, {"start_only": value})


def test_types_are_laid_out_in_memory_as_msgspec_can() -> None:
    """A str with a pattern beside a bounded sequence in one union corrupts its memory; a debug
    allocator sees that when the type is freed."""
    program = (
        "from wattline_protocol.wire.codec import Codec\n"
        "from wattline_protocol.wire.agent_messages import FromAgent, ToAgent\n"
        "from wattline_protocol.wire.client_messages import FromClient, ToClient\n"
        "for union in (FromAgent, ToAgent, FromClient, ToClient):\n"
        "    Codec(union)\n"
    )
    environment = {**os.environ, "PYTHONMALLOC": "debug"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()[-500:]


def test_commands_and_variables_hold_lines_but_no_nul() -> None:
    spec = {"name": "a", "command": ["sh", "-c", "a\nb\t\x1b"], "env": {"A": "1\n2"}}
    codec: Codec[Any] = Codec(FromClient)
    codec.decode(
        msgspec.msgpack.encode({"t": "ask", "ask": 1, "request": {**SUBMIT, "spec": spec}})
    )
    for wrong in ({"command": ["a\0"]}, {"env": {"A": "\0"}}, {"env": {"A\0": "1"}}):
        request = {**SUBMIT, "spec": {**spec, **wrong}}
        said = refusal(FromClient, {"t": "ask", "ask": 1, "request": request})
        assert "U+0000" in said
