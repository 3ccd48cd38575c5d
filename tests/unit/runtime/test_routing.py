"""Choice of a rule, values of a body by path, and cascades, without I/O."""

import asyncio
from collections import Counter

import msgspec
import pytest

from wattline_protocol.routing.model import SHARES, PublicRoute, RouteRule, RouteTarget
from wattline_protocol.wire.api_keys import ApiKeyGrant
from wattline_protocol.wire.bounds import MAX_WORD_CHARS
from wattline_protocol.wire.rollouts import RouteTraffic
from wattline_runtime.gateway.access.key_ring import ApiKey
from wattline_runtime.gateway.access.service_check import require_service
from wattline_runtime.gateway.core import Gateway
from wattline_runtime.gateway.errors import BadRequest
from wattline_runtime.gateway.events import Outcome, Output, Refusal
from wattline_runtime.gateway.processes.sums import TrafficSum
from wattline_runtime.gateway.request_queue import RequestQueue
from wattline_runtime.gateway.revisions.reporting import TrafficReporter
from wattline_runtime.gateway.routing import json_path
from wattline_runtime.gateway.routing.cascade import Part, cascade
from wattline_runtime.gateway.routing.choose import choose, place_of
from wattline_runtime.gateway.routing.json_path import JsonDocument
from wattline_runtime.gateway.routing.router import HttpRequestProperties, with_model
from wattline_runtime.gateway.stats import Stats
from wattline_runtime.gateway.streams.openai import OpenAiBody

SMALL, LARGE, CANARY = RouteTarget(("small",)), RouteTarget(("large",)), RouteTarget(("canary",))
CASCADE = RouteTarget(("small", "large"), 0.8)


def asked(
    *headers: tuple[bytes, bytes], number: int = 0, data: bytes = b"{}", digest: str = ""
) -> HttpRequestProperties:
    key = ApiKey(ApiKeyGrant("k", digest, ()), frozenset(), 0.0) if digest else None
    scope = {"type": "http", "headers": list(headers)}
    return HttpRequestProperties(1, len(data), "", scope, JsonDocument(data), key, f"seed{number}")


def test_batches_and_streams_are_not_sent_to_a_route() -> None:
    queue = RequestQueue(1, early=None, public={"r"})
    with pytest.raises(BadRequest, match=r"'r' is a route: .* name a service"):
        require_service(queue, "r", None)
    with pytest.raises(BadRequest, match="no service 's'; known services: none"):
        require_service(queue, "s", None)


def test_a_value_longer_than_any_of_a_rule_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    really_decode = json_path._SCALAR.decode

    class Decoder:
        def decode(self, data: msgspec.Raw) -> object:
            decoded.append(len(bytes(data)))
            return really_decode(data)

    monkeypatch.setattr(json_path, "_SCALAR", Decoder())
    longest = '"' + "\\ud83d\\ude00" * (MAX_WORD_CHARS - 2) + '"'
    document = JsonDocument(f'{{"a":{longest},"b":"{"x" * 100_000}"}}'.encode())
    for _ in range(64):
        assert (document.text_at("b"), document.number_at("b")) == (None, None)
    assert decoded == []
    assert document.text_at("a") == '"' + "\U0001f600" * (MAX_WORD_CHARS - 2) + '"'
    assert decoded == [len(longest)]


# --- shares


def test_shares_are_those_of_all_requests_and_do_not_overlap() -> None:
    rules = (RouteRule(CANARY, share_permille=100), RouteRule(LARGE, share_permille=300))
    route = PublicRoute("r", rules, SMALL)
    counts = Counter(choose(route, asked(number=n)) for n in range(20_000))
    for rule, share in ((1, 0.1), (2, 0.3), (0, 0.6)):
        assert abs(counts[rule] / 20_000 - share) < 4 * (share * (1 - share) / 20_000) ** 0.5
    only_gold = (RouteRule(CANARY, share_permille=100, tiers=("gold",)), rules[1])
    without = Counter(choose(PublicRoute("r", only_gold, SMALL), asked(number=n)) for n in range(9))
    assert without[1] == 0


def test_equal_values_of_the_sticky_header_have_one_place_in_each_route() -> None:
    route = PublicRoute("r", (RouteRule(CANARY, share_permille=500),), SMALL, "x-user")

    def of(user: str, number: int) -> int:
        return choose(route, asked((b"x-user", user.encode()), number=number))

    users = [f"user-{n}" for n in range(400)]
    assert all(len({of(user, number) for number in range(5)}) == 1 for user in users[:50])
    assert 140 <= sum(of(user, 0) for user in users) <= 260  # 200 ± 6 σ
    assert len({choose(route, asked(number=n)) for n in range(50)}) == 2  # without the header
    assert place_of("a", "ada") != place_of("b", "ada")
    assert all(0 <= place_of("a", user) < SHARES for user in users)


def test_an_api_key_is_sticky_however_it_is_sent() -> None:
    route = PublicRoute("r", (RouteRule(CANARY, share_permille=500),), SMALL, "api-key")
    found = {
        digest: {
            choose(route, asked(header, number=n, digest=digest))
            for n, header in enumerate([(b"authorization", b"Bearer 1"), (b"api-key", b"1")])
        }
        for digest in map(str, range(1, 40))
    }
    assert all(len(choices) == 1 for choices in found.values())
    assert len({choice for choices in found.values() for choice in choices}) == 2


# --- paths


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a", '"x"'),
        ("b.c", "1"),
        ("b.d.0.e", "true"),
        ("b.d.1", "2"),
        ("f", "3"),
        ("g", None),
        ("b", None),
        ("b.d", None),
        ("b.d.x", None),
        ("b.d.7", None),
        ("b.d.99999999999999999999", None),
        ("a.b", None),
        ("none", None),
    ],
)
def test_a_field_is_found_by_its_path(path: str, text: str | None) -> None:
    data = b' {"a": "x", "b": {"c": 1, "d": [{"e": true}, 2]}, "f": 3.0, "g": null}'
    document = JsonDocument(data)
    assert document.text_at(path) == text
    assert document.text_at("b.d.1") == "2"


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff", b'{"a": {', b"[" * 10_000, b'{"a": "\\ud800"}']
)
def test_what_is_no_json_has_no_fields(data: bytes) -> None:
    assert JsonDocument(data).text_at("a") is None
    assert JsonDocument(data).number_at("a.0.b") is None


def test_a_confidence_is_a_finite_number() -> None:
    assert JsonDocument(b'{"confidence": 0.5}').number_at("confidence") == 0.5
    assert JsonDocument(b'[{"x": [1]}]').number_at("0.x.0") == 1.0
    for value in (b"true", b'"0.9"', b"null", b"[1]", b"1e999", b"NaN", b"9" * 400):
        assert JsonDocument(b'{"confidence": ' + value + b"}").number_at("confidence") is None


def test_a_body_names_the_service_that_gets_it() -> None:
    body = b'{"messages":[{"role":"user"}],"model":"public","x":1.50}'
    assert with_model(body, "small") == b'{"messages":[{"role":"user"}],"model":"small","x":1.50}'


def test_a_body_with_a_name_that_is_no_text_is_malformed() -> None:
    body = b'{"model":"public","\xff":1}'
    assert msgspec.json.decode(body, type=OpenAiBody).model == "public"
    with pytest.raises(BadRequest, match="UTF-8") as refused:
        with_model(body, "small")
    assert refused.value.reason == "malformed"


# --- cascades

SURE, UNSURE = Output(b'{"confidence":0.8}', tokens=3), Output(b'{"confidence":0.79}', tokens=3)
BETTER, LATE = Output(b"1", tokens=5), Refusal("deadline", "too late", 2)
BAD, GONE = Refusal("bad_input", "no text"), None


def run(small: Outcome | None, large: Outcome | None) -> tuple[Part, str | None, list[object]]:
    """What a cascade of 10 s makes of these, and what it asked for."""
    calls: list[object] = []

    async def ask(service: str, until_s: float, may_fall_back: bool) -> Part:
        calls.append((service, round(until_s, 3), may_fall_back))
        return Part(small if service == "small" else large, service, is_hit=True)

    part, end = asyncio.run(cascade(CASCADE, ask, 100.0, 110.0))
    return part, end, calls


FIRST = ("small", 107.5, True)


@pytest.mark.parametrize(
    ("small", "large", "outcome", "by", "end", "asked_for"),
    [
        (SURE, BETTER, SURE, "small", "kept", [FIRST]),
        (UNSURE, BETTER, BETTER, "large", "escalated", [FIRST, ("large", 109.5, False)]),
        (UNSURE, LATE, UNSURE, "small", "failed", [FIRST, ("large", 109.5, False)]),
        (LATE, BETTER, BETTER, "large", "escalated", [FIRST, ("large", 110.0, True)]),
        (BAD, BETTER, BAD, "small", None, [FIRST]),
        (GONE, BETTER, GONE, "small", None, [FIRST]),
        (UNSURE, GONE, GONE, "large", None, [FIRST, ("large", 109.5, False)]),
    ],
)
def test_the_large_service_answers_what_the_small_one_is_unsure_of(
    small: Outcome | None,
    large: Outcome | None,
    outcome: Outcome | None,
    by: str,
    end: str | None,
    asked_for: list[object],
) -> None:
    part, ended, calls = run(small, large)
    assert (part.outcome, part.by, ended, calls) == (outcome, by, end, asked_for)
    assert part.spent == (3 if (small, ended) == (UNSURE, "escalated") else 0)


def test_where_neither_answers_one_error_names_both() -> None:
    part, end, _ = run(Refusal("no_worker", "none is ready"), LATE)
    assert part.outcome == Refusal("deadline", "small: none is ready; large: too late", 2)
    assert end == "failed"


def test_bytes_and_outputs_without_a_confidence_count_as_below_the_limit() -> None:
    for output in (Output(b'{"confidence":1}', is_bytes=True), Output(b"[]"), Output(b'"0.9"')):
        assert run(output, BETTER)[1] == "escalated"


# --- reports


def test_reports_count_by_rule_since_the_last_one_and_processes_are_added_up() -> None:
    stats = Stats()
    reporter = TrafficReporter(Gateway(1, 0.0), stats)
    stats.routed.update({("r", 1, "small"): 4, ("r", 1, "large"): 1, ("r", 0, "small"): 2})
    stats.cascades.update({("r", 1, "kept"): 3, ("r", 1, "failed"): 1})
    first = reporter.take()
    assert set(first.routes) == {RouteTraffic("r", 1, 5, 3, 0, 1), RouteTraffic("r", 0, 2)}
    stats.routed["r", 1, "small"] += 1
    stats.cascades["r", 1, "escalated"] += 2
    second = reporter.take()
    assert second.routes == (RouteTraffic("r", 1, 1, 0, 2, 0),)
    assert reporter.take().routes == ()
    sums = TrafficSum()
    for process, report in enumerate((first, second, first)):
        sums.add(process, report)
    assert set(sums.take().routes) == {RouteTraffic("r", 1, 11, 6, 2, 2), RouteTraffic("r", 0, 4)}
    assert sums.take().routes == ()
