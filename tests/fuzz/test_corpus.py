"""Kept inputs, and a fixed number around well-formed ones, raise what is documented only."""

import random
from collections.abc import Iterator
from pathlib import Path

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

TARGETS = by_name()


@pytest.fixture(params=list(TARGETS.values()), ids=list(TARGETS))
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    yield request.param
    request.param.close()


def test_each_folder_of_the_corpus_has_a_target() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} <= TARGETS.keys()


def test_seeds_are_well_formed(target: Target) -> None:
    for seed in target.seeds:
        if b"-14:00" not in seed and b"+14:00" not in seed:
            target.feed(seed)


def test_what_was_kept(target: Target) -> None:
    for path in sorted((CORPUS / target.name).glob("*")):
        feed(target, path.read_bytes())


def test_inputs_around_well_formed_ones(target: Target) -> None:
    dice = random.Random(target.name)
    for _ in range(EXAMPLES):
        feed(target, mutated(dice, dice.choice(target.seeds)))


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
