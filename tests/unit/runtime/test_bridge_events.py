"""Server-sent events of the HTTP server behind the bridge."""

import io
from http.client import HTTPResponse
from typing import cast

import pytest

from wattline_runtime.serve.bridge.exchange import events


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"data: 1\n\ndata:2\n\n", [b"1", b"2"]),
        (b"data: 1\r\n\r\ndata: 2\r\n\r\n", [b"1", b"2"]),
        (b"data: 1\r\rdata: 2\r\r", [b"1", b"2"]),
        (b"data: {\rdata: }\n\n", [b"{ }"]),
        (b'data: {"a":\r1}\n\n', [b'{"a":']),
        (b": note\nevent: x\ndata: 1\nid: 3\n\n", [b"1"]),
        (b"data: 1\n\ndata: 2\n", [b"1"]),
    ],
)
def test_each_event_is_one_line_whatever_ends_its_lines(text: bytes, found: list[bytes]) -> None:
    assert [*events(cast("HTTPResponse", io.BytesIO(text)))] == found
