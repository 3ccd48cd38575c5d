"""An enrolled agent that says impossible things: refused at the edge, or harmless to everyone."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import msgspec
import pytest

from support.core.harness import Harness
from support.core.sites import job, site
from wattline_protocol.ids import NodeId
from wattline_protocol.wire.agent_messages import Adopted, Beat, FromAgent, Hello
from wattline_protocol.wire.codec import Codec, MalformedMessage
from wattline_scheduler.core.model.events import AgentMessage

M = TypeVar("M")
A1 = NodeId("a1")
INTS = (-1, 0, -(10**6), 10**12, 2**63 - 1, 2**64 - 1)
FLOATS = (float("nan"), float("inf"), -1.0, 1e308)


def busy() -> Harness:
    """Two nodes with work on both."""
    h = Harness(site().rack("a", 2, kw=14.0).site_budget(14.0).build())
    h.join()
    h.submit(job("whole").gpus(8))
    h.submit(job("half").gpus(4))
    h.run(3)
    return h


def hello(h: Harness) -> Hello:
    h.agent("a1").say_hello()
    return said(h, Hello)


def adopted(h: Harness) -> Adopted:
    h.handle(AgentMessage(A1, hello(h)))
    return said(h, Adopted)


def beat(h: Harness) -> Beat:
    h.agent("a1").say_beat()
    return msgspec.structs.replace(
        said(h, Beat), inlet_c=22.0, node_mw=5_000_000, non_gpu_mw=900_000
    )


def said(h: Harness, kind: type[M]) -> M:
    found = [message for message in h.agent("a1").said if isinstance(message, kind)]
    h.agent("a1").said.clear()
    return found[-1]


def odd(value: Any) -> Iterator[Any]:
    """The value with one thing in it that cannot be."""
    match value:
        case msgspec.Struct():
            for name in value.__struct_fields__:
                for other in odd(getattr(value, name)):
                    yield msgspec.structs.replace(value, **{name: other})
        case bool():
            yield not value
        case int():
            yield from INTS
        case float():
            yield from FLOATS
        case (first, *rest):
            for other in odd(first):
                yield (other, *rest)
            yield ()
            yield (first, first, *rest)
        case _:
            return


@pytest.mark.parametrize("words", [hello, adopted, beat])
def test_odd_words_of_one_agent_harm_nobody_else(words: Callable[[Harness], FromAgent]) -> None:
    codec = Codec[FromAgent](FromAgent)
    taken = refused = 0
    for message in odd(words(busy())):
        h = busy()
        words(h)
        try:
            decoded = codec.decode(msgspec.msgpack.encode(message))
        except MalformedMessage:
            refused += 1
            continue
        h.handle(AgentMessage(A1, decoded))
        h.settle()
        h.run(1.5)
        taken += 1
    assert taken > 20
    assert refused > 10
