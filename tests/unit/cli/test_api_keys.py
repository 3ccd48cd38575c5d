"""API keys on the command line: what is asked for, what is shown, and slips of the hand."""

import asyncio
import hashlib
import io
import re
from typing import cast

import msgspec
import pytest
from rich.console import Console, RenderableType

from support.core.list_pages import page_of
from wattline import Client
from wattline.acts.serving import api_keys as acts
from wattline.client.api_keys import ApiKeyActs, NewApiKey
from wattline.client.errors import NotFound
from wattline.client.routes import ClientRoutes
from wattline.failures import ActFailed
from wattline.show.serving import api_keys as show
from wattline_protocol.ids import UnixTime
from wattline_protocol.text.quantities import MAX_TALLY
from wattline_protocol.wire.api_keys import (
    AddApiKey,
    ApiKeyShares,
    ApiKeyUse,
    ApiKeyView,
    ReportApiKeyUse,
)
from wattline_protocol.wire.bounds import MAX_COUNT
from wattline_protocol.wire.client_messages import Request

SHOP = ApiKeyView(
    name="shop",
    owner="ada",
    services=("digits", "echo"),
    rate_per_s=0.5,
    burst=4,
    made_unix_s=UnixTime(1e9),
    expires_unix_s=None,
    is_expired=False,
    requests=12_345,
    refused=7,
)


class Recorded(ApiKeyActs):
    """Stands for a client: what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[AddApiKey] = []

    def act(self, request: Request, *, timeout_s: float | None = None) -> str:
        assert isinstance(request, AddApiKey)
        self.asked.append(request)
        return "API key shop of ada"

    def api_keys(self) -> tuple[ApiKeyView, ...]:
        return (SHOP,)


def add(client: Recorded, **given: object) -> NewApiKey:
    options: dict[str, object] = {
        "name": "shop",
        "service": ("digits,echo", "more"),
        "rate": None,
        "burst": None,
        "expires": None,
        "tier": "gold",
        "priority": "normal",
        "tokens_per_day": None,
        "as_json": True,
    }
    return acts.add(client, **{**options, **given})  # type: ignore[arg-type]


def test_the_secret_has_256_bits_and_only_its_hash_is_sent() -> None:
    client = Recorded()
    made = add(client, rate="30/m", burst=4, expires=60.0)
    again = add(client)
    assert re.fullmatch(r"wl_[A-Za-z0-9_-]{43}", made.key)
    assert again.key != made.key
    first, second = client.asked
    assert first.digest == hashlib.sha256(made.key.encode()).hexdigest()
    assert first.services == ("digits", "echo", "more")
    assert (first.rate_per_s, first.burst, first.valid_s) == (0.5, 4, 60.0)
    assert (second.rate_per_s, second.burst, second.valid_s) == (0.0, 0, 0.0)
    assert made.key.encode() not in msgspec.msgpack.encode(first)


def test_a_script_reads_the_key_alone(capsys: pytest.CaptureFixture[str]) -> None:
    made = add(Recorded(), as_json=False)
    assert show.secret(made) == made.key
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "API key shop of ada; the key is shown only now:\n"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"rate": "50"}, '--rate 50: expected a rate above 0 such as "50/s"'),
        ({"rate": "0/s"}, "expected a rate above 0"),
        ({"rate": "1/s", "burst": 0}, "--burst 0: expected at least 1"),
        ({"expires": 0.0}, "--expires: expected a duration above 0"),
    ],
)
def test_slips_of_the_hand_are_refused_before_anything_is_sent(
    given: dict[str, object], why: str
) -> None:
    client = Recorded()
    with pytest.raises(ActFailed, match=re.escape(why)):
        add(client, **given)
    assert client.asked == []


def text_of(listing: RenderableType) -> str:
    console = Console(file=io.StringIO(), width=160, color_system=None)
    with console.capture() as captured:
        console.print(listing, highlight=False, markup=False)
    return captured.get()


def test_keys_are_listed_with_their_limits_and_their_use() -> None:
    old = msgspec.structs.replace(SHOP, name="old", is_expired=True, expires_unix_s=UnixTime(1.0))
    shown = text_of(page_of(show.KEYS, [SHOP, old]))
    for word in ("shop", "ada", "30/m", "never", "expired", "digits,echo"):
        assert word in shown
    drawn = text_of(page_of(show.USAGE, [msgspec.structs.replace(SHOP, joules=62_500.0)]))
    assert "62.5 kJ" in drawn
    assert text_of(page_of(show.USAGE, [SHOP])).splitlines()[1].split()[:4] == [
        *("shop", "12,345", "7", "never"),
    ]
    assert text_of(page_of(show.USAGE, [])) == "No API keys.\n"


def test_usage_of_one_key_or_of_all() -> None:
    client = cast("Client", Recorded())
    assert acts.usage(client, name=None) == acts.usage(client, name="shop") == (SHOP,)
    with pytest.raises(NotFound, match="there is no API key 'shap' of yours; you have shop"):
        acts.usage(client, name="shap")


def test_what_is_counted_while_the_scheduler_is_away_fits_into_a_report() -> None:
    asked: list[ReportApiKeyUse] = []

    class Scheduler:
        def get(self, request: ReportApiKeyUse, kind: type[ApiKeyShares], **_: float) -> object:
            asked.append(
                msgspec.msgpack.decode(msgspec.msgpack.encode(request), type=type(request))
            )
            return kind(1.0)

    use = ApiKeyUse("1" * 64, 2**40, 0, 2**40, UnixTime(1.7e9), tokens=2**70, tokens_today=7)
    routes = ClientRoutes(cast("Client", Scheduler()))
    answer = asyncio.run(routes.report_use(ReportApiKeyUse("r", (use,))))
    assert answer == ApiKeyShares(1.0)
    (sent,) = asked[0].uses
    assert (sent.requests, sent.tokens, sent.tokens_today) == (MAX_COUNT, MAX_TALLY, 7)
