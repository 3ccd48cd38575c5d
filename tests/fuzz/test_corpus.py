"""Kept inputs, and a fixed number around well-formed ones, raise what is documented only."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fuzz.targets import Target, by_name, feed

CORPUS = Path(__file__).parent / "corpus"
EXAMPLES = 300
TOKENS = (
    b"\x00",
    b"\xff",
    b"\x80",
    b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xcb\x7f\xf8",
    b"NaN",
    b"1e999",
    b"\x1b[",
    b"9999-12-31T23:59:59-14:00",
    b"../",
    b"[",
    b"{",
    b'"',
    b"\r\n",
    b"\xc3",
    b"-1",
    b"18446744073709551616",
)

BEYOND = (b"-14:00", b"+14:00")
"""A moment in such a time zone is before the first year or after the last: the seed is refused."""

TARGETS = by_name()
KEPT = sorted(folder.name for folder in CORPUS.iterdir())


@pytest.fixture
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    yield TARGETS[request.param]
    TARGETS[request.param].close()


@pytest.mark.parametrize("target", TARGETS, indirect=True)
def test_seeds_are_well_formed(target: Target) -> None:
    assert target.seeds
    for seed in target.seeds:
        assert feed(target, seed) != any(end in seed for end in BEYOND), seed


@pytest.mark.parametrize("target", KEPT, indirect=True)
def test_what_was_kept_raises_what_is_documented_only(target: Target) -> None:
    kept = sorted((CORPUS / target.name).iterdir())
    assert kept
    for path in kept:
        feed(target, path.read_bytes())


@pytest.mark.parametrize("target", TARGETS, indirect=True)
def test_inputs_around_well_formed_ones_are_read_or_refused(target: Target) -> None:
    dice = random.Random(target.name)
    read = [feed(target, mutated(dice, dice.choice(target.seeds))) for _ in range(EXAMPLES)]
    assert any(read)
    assert bool(target.documented) != all(read), "some are no longer well-formed"


def mutated(dice: random.Random, data: bytes) -> bytes:
    """A few bytes flipped, pieces cut, doubled or replaced by what parsers stumble over."""
    out = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        at, to = sorted((dice.randint(0, len(out)), dice.randint(0, len(out))))
        match dice.randint(0, 4):
            case 0 if out:
                out[dice.randrange(len(out))] ^= 1 << dice.randrange(8)
            case 1:
                del out[at:to]
            case 2:
                out[at:at] = out[at:to]
            case 3:
                out[at:at] = dice.choice(TOKENS)
            case _:
                out[at:to] = dice.choice(TOKENS)
    return bytes(out)


@pytest.mark.parametrize("target", ["from-agent", "from-client"], indirect=True)
def test_a_key_that_comes_twice_raises_what_is_documented_only(target: Target) -> None:
    for seed in target.seeds:
        message = msgspec.msgpack.decode(seed)
        for where, key in [(one, key) for one in _maps(message) for key in one]:
            for second in (5, None, [None], {"x": None}):
                feed(target, bytes(_twice(message, where, key, second)))


def _maps(value: Any) -> Iterator[dict[Any, Any]]:
    """All maps in a message."""
    if isinstance(value, dict):
        yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in inner:
        yield from _maps(item)


def _twice(value: Any, where: dict[Any, Any], key: object, second: object) -> msgspec.Raw:
    """The message, encoded; its map `where` has `key` with a wrong value, and then once more."""
    encode = msgspec.msgpack.encode
    if isinstance(value, list):
        return msgspec.Raw(encode([_twice(item, where, key, second) for item in value]))
    if not isinstance(value, dict):
        return msgspec.Raw(encode(value))
    entries: list[tuple[object, object]] = [
        (name, _twice(item, where, key, second)) for name, item in value.items()
    ]
    if value is where:
        entries = [(name, {"x": []} if name == key else item) for name, item in entries]
        entries.append((key, second))
    head = b"\xde" + len(entries).to_bytes(2, "big")
    return msgspec.Raw(head + b"".join(encode(name) + encode(item) for name, item in entries))
