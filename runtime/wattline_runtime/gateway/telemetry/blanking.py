"""Blanks personal data in JSON before it is logged.

Each text is searched for all kinds, and what any of them finds is replaced, so that one kind hides
nothing from another. Each search takes linear time: patterns of users run in RE2. All matches of a
pattern take as many searches, so there is a time for a body.
"""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from itertools import accumulate
from math import inf
from typing import Any

import msgspec

from wattline_protocol.job.patterns import PATTERN
from wattline_protocol.wire.api_keys import PREFIX

MAX_DEPTH = 100
LONGEST_CARD, SHORTEST_CARD = 19, 13

Span = tuple[int, int, str]
"""Begin, end and kind of what is to be blanked."""

Finder = Callable[[str], Iterator[Span]]


class Unreadable(ValueError):
    """The body cannot be blanked; the text says why, without any of it."""


_GAP = r"[ .\-\u00a0\u00ad\u2000-\u200d\u2010-\u2015\u2060]{0,2}"
_RUN = re.compile(rf"(?<!\d)\d{{1,19}}(?!\d)(?:{_GAP}\d{{1,19}}(?!\d))*")
"""Groups of digits; one of more than 19 is part of no card."""
_GROUP = re.compile(r"\d+")
_API_KEY = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{20,}}")
_EMAIL = re.compile(r"[^\s@<>()\[\]\",;:\\]{1,64}@(?:[\w-]{1,63}\.){1,8}[\w-]{2,63}")
_PHONE = re.compile(
    r"(?<![\w+])(?:\+|00)[1-9](?:[ \u00a0./()-]{0,3}\d){6,14}(?!\d)"  # E.164, 00 for +
    r"|(?<![\w.])\(0?\d{2,4}\)[ -]{0,2}\d{2,4}(?:[ -]?\d{2,4}){1,3}(?!\d)"  # (030) 123 4567
    r"|(?<![\w.-])0\d{1,4}[ /-]{1,3}\d{3,9}(?:[ -]\d{1,6}){0,3}(?![\w.-])"  # 030/1234567
    r"|(?<![\w.-])\d{3}[-. ]\d{3}[-. ]\d{4}(?![\w-])"  # 555-123-4567
)


def api_keys(text: str) -> Iterator[Span]:
    """API keys of Wattline, which are in no log."""
    return ((*found.span(), "key") for found in _API_KEY.finditer(text))


def emails(text: str) -> Iterator[Span]:
    """Addresses of e-mail."""
    return ((*found.span(), "email") for found in _EMAIL.finditer(text))


def phones(text: str) -> Iterator[Span]:
    """Numbers in E.164 form, and in some common national ones."""
    return ((*found.span(), "phone") for found in _PHONE.finditer(text))


def cards(text: str) -> Iterator[Span]:
    """Whole groups of digits that are together a card's number: 13 to 19 digits with a valid check
    digit by Luhn's rule."""
    for run in _RUN.finditer(text):
        if run.end() - run.start() >= SHORTEST_CARD:
            yield from _cards(text, run.start(), run.end())


def _cards(text: str, begin: int, end: int) -> Iterator[Span]:
    groups = [found.span() for found in _GROUP.finditer(text, begin, end)]
    digits = [int(digit) for first, last in groups for digit in text[first:last]]
    doubled = [2 * digit - 9 * (digit > 4) for digit in digits]
    sums = [_alternating(doubled, digits), _alternating(digits, doubled)]
    ends = [*accumulate(last - first for first, last in groups)]
    begins = [0, *ends[:-1]]
    reach = 0
    for number, start in enumerate(begins):
        reach = max(reach, number)
        while reach < len(ends) and ends[reach] - start < SHORTEST_CARD:
            reach += 1
        for last in range(reach, len(ends)):
            stop = ends[last]
            if stop - start > LONGEST_CARD:
                break
            table = sums[stop % 2]  # the last digit is not doubled, the one before is
            if (table[stop] - table[start]) % 10 == 0:
                yield groups[number][0], groups[last][1], "card"


def _alternating(even: list[int], odd: list[int]) -> list[int]:
    """Sums over the digits before each place: of `even` at even places, of `odd` at odd ones."""
    mixed = even.copy()
    mixed[1::2] = odd[1::2]
    return [0, *accumulate(mixed)]


def pattern_finder(pattern: str) -> Finder:
    """A user's pattern. Raises ValueError where RE2 refuses it, ImportError without RE2."""
    import re2  # of the extra `runtime`: only services with patterns need it

    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        raise ValueError(f"re:{pattern}: RE2 refuses it") from error

    def find(text: str) -> Iterator[Span]:
        return ((*found.span(), "pattern") for found in compiled.finditer(text))

    return find


_OF_KIND: dict[str, Finder] = {"email": emails, "card": cards, "phone": phones}


class Blanker:
    """Patterns to blank in the bodies of a service."""

    def __init__(self, entries: Sequence[str], clock: Callable[[], float] = time.monotonic) -> None:
        """Entries of `[service] log_bodies`; API keys are always blanked. Raises ValueError and
        ImportError for patterns."""
        self._clock = clock
        self._patterns = [
            pattern_finder(entry.removeprefix(PATTERN))
            for entry in entries
            if entry.startswith(PATTERN)
        ]
        kinds = [_OF_KIND[entry] for entry in entries if not entry.startswith(PATTERN)]
        self._finders = [api_keys, *kinds, *self._patterns]

    def body(self, data: bytes, until_s: float = inf) -> bytes:
        """JSON without what is to be blanked. `until_s`: of the clock. Raises Unreadable."""
        search = _Search(self._finders, self._patterns, self._clock, until_s)
        try:
            decoded = msgspec.json.Decoder(float_hook=search.literal).decode(data)
            return msgspec.json.encode(search.value(decoded, MAX_DEPTH))
        except Unreadable:
            raise
        except (ValueError, OverflowError, RecursionError, ArithmeticError):
            raise Unreadable("no JSON") from None  # the error's text may have a part of it

    def value(self, value: Any, until_s: float = inf) -> Any:
        """A decoded value, likewise. Raises Unreadable."""
        search = _Search(self._finders, self._patterns, self._clock, until_s)
        return search.value(value, MAX_DEPTH)


class _Search:
    """That of one body."""

    def __init__(
        self,
        finders: Sequence[Finder],
        patterns: Sequence[Finder],
        clock: Callable[[], float],
        until_s: float,
    ) -> None:
        self._finders, self._patterns = finders, patterns
        self._clock, self._until_s = clock, until_s

    def _spans(self, text: str, finders: Sequence[Finder]) -> Iterator[Span]:
        for find in finders:
            for span in find(text):
                yield span
                self._check_time()
            self._check_time()

    def _check_time(self) -> None:
        if self._clock() > self._until_s:
            raise Unreadable("its patterns take too long")

    def text(self, text: str) -> str:
        """A text without what is to be blanked."""
        spans = sorted(self._spans(text, self._finders))
        parts: list[str] = []
        done = 0
        for begin, end, kind in spans:
            if begin >= done and end > begin:
                parts += [text[done:begin], f"[{kind}]"]
            done = max(done, end)
        return "".join([*parts, text[done:]]) if parts else text

    def value(self, value: Any, depth: int) -> Any:
        """A decoded value, likewise."""
        if not depth:
            raise Unreadable("too deep")
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(key): self.value(one, depth - 1) for key, one in value.items()}
        if isinstance(value, list):
            return [self.value(one, depth - 1) for one in value]
        if isinstance(value, int) and not isinstance(value, bool):
            text = str(value)
            blanked = self.text(text)
            return value if blanked == text else blanked
        return value

    def literal(self, literal: str) -> float | str:
        """A number with a fraction or an exponent. Digits of a fraction are no card, but 4e15 is
        written for a whole number, too."""
        number = float(literal)
        if number.is_integer() and abs(number) < 10.0**LONGEST_CARD:
            whole = str(int(Decimal(literal)))
            blanked = self.text(whole)
            return number if blanked == whole else blanked
        is_found = any(self._spans(literal, self._patterns))
        return "[pattern]" if is_found else number
