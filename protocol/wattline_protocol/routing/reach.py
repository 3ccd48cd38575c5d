"""Whether a request can reach a rule of a route, exactly: what a rule matches is a box, the product
of a set for each property of a request, and a rule is reached by what the boxes before it leave.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from wattline_protocol.routing.model import (
    MAX_BODY_BYTES,
    MAX_INPUTS,
    SHARES,
    PublicRoute,
    RouteRule,
    share_starts,
)

MAX_STEPS = 2_500
"""Boxes examined for one route: overlapping rules can need exponentially many."""

Property = tuple[str, str]
"""Kind of a property, and its name: ("header", "x-team")."""


@dataclass(frozen=True, slots=True)
class Range:
    """Whole numbers from `low` to `high`."""

    low: int
    high: int

    def both(self, other: "Range") -> "Range | None":
        """The numbers in both; None = none."""
        low, high = max(self.low, other.low), min(self.high, other.high)
        return Range(low, high) if low <= high else None

    def without(self, other: "Range") -> Iterator["Range"]:
        """The numbers that are not in the other one."""
        if self.low < other.low:
            yield Range(self.low, min(self.high, other.low - 1))
        if self.high > other.high:
            yield Range(max(self.low, other.high + 1), self.high)


@dataclass(frozen=True, slots=True)
class Values:
    """Some texts, or all but some: these include that the request has none."""

    texts: frozenset[str]
    are_excluded: bool = False

    def both(self, other: "Values") -> "Values | None":
        """The texts in both; None = none."""
        if self.are_excluded and other.are_excluded:
            return Values(self.texts | other.texts, are_excluded=True)
        if self.are_excluded:
            return other.both(self)
        texts = self.texts - other.texts if other.are_excluded else self.texts & other.texts
        return Values(texts) if texts else None

    def without(self, other: "Values") -> Iterator["Values"]:
        """The texts that are not in the other one."""
        rest = self.both(Values(other.texts, are_excluded=not other.are_excluded))
        if rest is not None:
            yield rest


Box = Mapping[Property, Any]
"""A Range or Values by property; one that is not named may be anything."""

INPUTS, BODY, TIER, SHARE = ("inputs", ""), ("body", ""), ("tier", ""), ("share", "")
_WHOLE: Mapping[Property, Range] = {
    INPUTS: Range(1, MAX_INPUTS),
    BODY: Range(0, MAX_BODY_BYTES),
    SHARE: Range(0, SHARES - 1),
}
_ANY = Values(frozenset(), are_excluded=True)


class TooComplex(ValueError):
    """The rules overlap in too many ways to be analysed."""


@dataclass(frozen=True, slots=True)
class Witness:
    """Properties of a request that reaches a rule."""

    inputs: int
    body_bytes: int
    share: int
    """Place among the thousandths."""
    tier: str
    headers: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)


def witnesses(route: PublicRoute) -> tuple[list[Witness | None], Witness | None]:
    """For each rule a request that reaches it, None = no request can; and one that meets no rule.
    Raises TooComplex."""
    search, found = _Search(), list[Witness | None]()
    for rule, start in zip(route.rules, share_starts(route), strict=True):
        box = _box(rule, start)
        found.append(_witness(search.left(box)))
        search.before.append(box)
    return found, _witness(search.left({}))


def covering(route: PublicRoute, number: int) -> int:
    """Number of a rule before the given one that alone matches all of its requests; 0 = none."""
    boxes = [_box(*pair) for pair in zip(route.rules, share_starts(route), strict=True)]
    box = boxes[number - 1]
    for earlier, other in enumerate(boxes[: number - 1], 1):
        if next(_without(box, other), None) is None:
            return earlier
    return 0


class _Search:
    """Boxes of the rules so far, and what they leave."""

    def __init__(self) -> None:
        self.before: list[Box] = []
        self._steps = 0

    def left(self, box: Box) -> Box | None:
        """A part of the box that no box before it has; None = there is none."""
        open_parts = [(box, 0)]
        while open_parts:
            part, at = open_parts.pop()
            if at == len(self.before):
                return part
            self._steps += 1
            if self._steps > MAX_STEPS:
                hint = "use fewer, or fewer conditions"
                raise TooComplex(f"the rules overlap in too many ways: {hint}")
            open_parts.extend((rest, at + 1) for rest in _without(part, self.before[at]))
        return None


def _box(rule: RouteRule, start: int) -> Box:
    box: dict[Property, Any] = {}
    if rule.min_inputs or rule.max_inputs:
        box[INPUTS] = Range(max(1, rule.min_inputs), rule.max_inputs or MAX_INPUTS)
    if rule.min_body_bytes or rule.max_body_bytes:
        box[BODY] = Range(rule.min_body_bytes, rule.max_body_bytes or MAX_BODY_BYTES)
    if rule.tiers:
        box[TIER] = Values(frozenset(rule.tiers))
    if rule.share_permille:
        box[SHARE] = Range(start, start + rule.share_permille - 1)
    for name, texts in rule.headers.items():
        box["header", name] = Values(frozenset(texts))
    for path, texts in rule.fields.items():
        box["field", path] = Values(frozenset(texts))
    return box


def _without(box: Box, other: Box) -> Iterator[Box]:
    """The box in parts, without what the other one has."""
    if any(_of(box, name).both(found) is None for name, found in other.items()):
        yield box
        return
    inside = dict(box)
    for name, found in other.items():
        own = _of(inside, name)
        for rest in own.without(found):
            yield {**inside, name: rest}
        both = own.both(found)
        if both is not None:
            inside[name] = both


def _of(box: Box, name: Property) -> Any:
    """Of the same type for the same property."""
    return box.get(name) or _WHOLE.get(name, _ANY)


def _witness(box: Box | None) -> Witness | None:
    if box is None:
        return None
    texts = {
        name: min(found.texts)
        for name, found in box.items()
        if isinstance(found, Values) and not found.are_excluded
    }
    return Witness(
        inputs=_low(box, INPUTS),
        body_bytes=_low(box, BODY),
        share=_low(box, SHARE),
        tier=texts.get(TIER, ""),
        headers={name: text for (kind, name), text in texts.items() if kind == "header"},
        fields={name: text for (kind, name), text in texts.items() if kind == "field"},
    )


def _low(box: Box, name: Property) -> int:
    low: int = _of(box, name).low
    return low
