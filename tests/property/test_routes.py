"""What the analysis of a route says of its rules, beside the rules as the gateway applies them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattline_protocol.routing.model import MAX_RULES, SHARES, PublicRoute, RouteRule, RouteTarget
from wattline_protocol.routing.reach import TooComplex, Witness, covering, witnesses
from wattline_runtime.gateway.routing.choose import choose

SMALL = RouteTarget(("small",))
TEXTS = ("a", "b", "c")
FIELDS = ('"a"', "1", "true")
TIERS = ("gold", "silver")
SIZES = range(1, 6)


@dataclass
class Sample:
    """A request, with the properties that rules ask for."""

    inputs: int
    body_bytes: int
    tier: str
    at: int
    headers: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)

    def header(self, name: str) -> str | None:
        return self.headers.get(name)

    def field(self, path: str) -> str | None:
        return self.fields.get(path)

    def place(self, route: PublicRoute) -> int:
        return self.at


def of_witness(one: Witness) -> Sample:
    return Sample(one.inputs, one.body_bytes, one.tier, one.share, one.headers, one.fields)


def some(values: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(values), max_size=3, unique=True).map(tuple)


@st.composite
def rules(draw: st.DrawFn, *, wide: bool) -> RouteRule:
    """`wide`: few conditions, so that rules cover each other."""
    odds: st.SearchStrategy[bool] = st.sampled_from((True, *(False,) * (3 if wide else 1)))

    def has() -> bool:
        return draw(odds)

    low, high = sorted((draw(st.sampled_from(SIZES)), draw(st.sampled_from(SIZES))))
    least, most = sorted((draw(st.sampled_from(SIZES)), draw(st.sampled_from(SIZES))))
    header, other = draw(some(TEXTS)), draw(some(TEXTS))
    path = draw(some(FIELDS))
    return RouteRule(
        target=SMALL,
        min_inputs=low if has() else 0,
        max_inputs=high if has() else 0,
        min_body_bytes=least if has() else 0,
        max_body_bytes=most if has() else 0,
        headers={
            **({"x-a": header} if header and has() else {}),
            **({"x-b": other} if other and has() else {}),
        },
        fields={"mode": path} if path and has() else {},
        tiers=draw(some(TIERS)) if has() else (),
        share_permille=draw(st.sampled_from((0, 0, 100, 250, 500))),
    )


@st.composite
def routes(draw: st.DrawFn) -> PublicRoute:
    found = draw(st.lists(rules(wide=draw(st.booleans())), max_size=7))
    while sum(rule.share_permille for rule in found) > SHARES:
        found.pop()
    return PublicRoute("r", tuple(found), SMALL)


def samples() -> Iterator[Sample]:
    """One request for each combination of what the rules above can tell apart."""
    one_more = (0, *SIZES, 6)
    places = range(0, SHARES, 50)
    for inputs, size, tier, a, b, mode in product(
        one_more[1:], one_more, ("", *TIERS), (None, *TEXTS), (None, *TEXTS), (None, *FIELDS)
    ):
        headers = {name: text for name, text in (("x-a", a), ("x-b", b)) if text}
        fields = {} if mode is None else {"mode": mode}
        for at in places[:: 1 if not headers else 5]:
            yield Sample(inputs, size, tier, at, headers, fields)


ALL = tuple(samples())


@settings(max_examples=60)
@given(routes())
def test_a_rule_is_reached_exactly_if_a_request_reaches_it(route: PublicRoute) -> None:
    reached, rest = witnesses(route)
    for number, witness in enumerate(reached, 1):
        if witness is not None:
            assert choose(route, of_witness(witness)) == number
    if rest is not None:
        assert choose(route, of_witness(rest)) == 0
    for number, witness in enumerate(reached, 1):
        before = covering(route, number)
        assert 0 <= before < number
        assert not (before and witness)
    unreached = {number for number, one in enumerate(reached, 1) if one is None}
    unreached |= {0} if rest is None else set()
    if unreached:
        hit = next((one for one in ALL if choose(route, one) in unreached), None)
        assert hit is None


def test_as_many_rules_as_a_route_may_have_are_analysed() -> None:
    many = tuple(RouteRule(SMALL, headers={"x-a": (f"{n}",)}) for n in range(MAX_RULES))
    reached, rest = witnesses(PublicRoute("r", many, SMALL))
    assert all(reached)
    assert rest is not None


def test_rules_that_overlap_in_too_many_ways_are_refused() -> None:
    dice = Random(1)
    many = tuple(
        RouteRule(
            SMALL,
            min_inputs=dice.randint(1, 50),
            headers={f"x-{n}": ("a", "b")[: dice.randint(1, 2)] for n in dice.sample(range(8), 3)},
            fields={f"f{n}": ("1",) for n in dice.sample(range(8), 3)},
        )
        for _ in range(MAX_RULES)
    )
    with pytest.raises(TooComplex):
        witnesses(PublicRoute("r", many, SMALL))
