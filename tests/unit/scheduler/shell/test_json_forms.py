"""What the HTTP door reads and answers, without HTTP."""

from typing import Any

import msgspec
import pytest

from wattline_protocol.wire.client_messages import Denied, Done
from wattline_scheduler.shell.http_api.json_forms import BadForm, grid_event, reply_to

NOW = 1_700_000_000.0
USUAL = {"id": "dr-1", "start": "2026-12-01T16:00:00+01:00", "duration": "3h", "shed": "25%"}
START = 1_796_137_200.0


def body(**changes: Any) -> bytes:
    return msgspec.json.encode({k: v for k, v in (USUAL | changes).items() if v is not None})


def test_an_event_is_read() -> None:
    asked = grid_event(body(domain="feed-a", ramp="10m", release="5m", reason="peak"), NOW)
    assert (asked.id, asked.domain, asked.fraction) == ("dr-1", "feed-a", 0.25)
    assert (asked.start_unix_s, asked.end_unix_s) == (START, START + 10_800)
    assert (asked.ramp_s, asked.release_s, asked.reason) == (600.0, 300.0, "peak")


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"shed": "40kW"}, "by_mw", 40_000_000),
        ({"shed": None, "limit": "60kW"}, "to_mw", 60_000_000),
        ({"start": None}, "start_unix_s", 0.0),
        ({"start": None}, "end_unix_s", NOW + 10_800),
        ({"duration": None, "end": "2026-12-01T16:30:00Z"}, "end_unix_s", START + 5_400),
    ],
)
def test_there_are_other_ways_to_say_it(changes: dict[str, Any], field: str, value: object) -> None:
    assert getattr(grid_event(body(**changes), NOW), field) == value


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"", "expected JSON such as"),
        (b"{not json", "expected JSON such as"),
        (b"[" * 10_000, "expected JSON such as"),
        (b'{"id": 5}', "Expected `str`, got `int` - at `$.id`"),
        (body(watts=5), "unknown field `watts`"),
        (body(shed=None), 'give either "shed"'),
        (body(limit="5kW"), 'give either "shed"'),
        (body(shed="a lot"), '"shed": expected a power'),
        (body(shed="120%"), '"shed": expected a percentage'),
        (body(limit="0W", shed=None), "more than zero"),
        (body(start="16:00"), "with its offset"),
        (body(start="2026-12-01T16:00"), "with its offset"),
        (body(end="2026-12-01T16:30:00Z"), 'either "end" (a time) or "duration"'),
        (body(duration=None), 'either "end" (a time) or "duration"'),
        (body(ramp="fast"), '"ramp": expected a duration'),
    ],
)
def test_what_is_no_event_is_refused_in_words(sent: bytes, words: str) -> None:
    with pytest.raises(BadForm) as caught:
        grid_event(sent, NOW)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "status"),
    [("not_found", 404), ("conflict", 409), ("busy", 503), ("bad_request", 400), ("odd", 400)],
)
def test_refusals_have_their_status(kind: str, status: int) -> None:
    assert reply_to(Denied(kind, "why")) == (
        status,
        {"error": {"reason": kind, "message": "why"}},
    )


def test_what_was_done_is_said() -> None:
    assert reply_to(Done("planned")) == (200, {"text": "planned"})
