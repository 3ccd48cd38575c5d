"""Who a client of an HTTP server is, and how many connections it may have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattline_protocol.http.limits import HttpLimits, client_key, forwarded_for, is_within, networks

TRUSTED = networks(["10.0.0.0/8", "2001:db8:ff::/48", "192.0.2.7"])


@pytest.mark.parametrize(
    ("values", "client"),
    [
        (["203.0.113.1"], "203.0.113.1"),
        (["198.51.100.1, 203.0.113.1"], "203.0.113.1"),
        (["203.0.113.1, 10.0.0.1,10.2.3.4"], "203.0.113.1"),
        (["198.51.100.1", "203.0.113.1, 192.0.2.7"], "203.0.113.1"),
        (["203.0.113.1:4711"], "203.0.113.1"),
        (['"[2001:db8::1]:80"'], "2001:db8::1"),
        (["2001:db8::1"], "2001:db8::1"),
        (["2001:db8::1, 2001:db8:ff::9"], "2001:db8::1"),
        (["::ffff:10.0.0.1, ::ffff:203.0.113.1"], "::ffff:203.0.113.1"),
        (["junk, 203.0.113.1"], "203.0.113.1"),
        (["203.0.113.1, junk"], None),
        (["203.0.113.1, "], None),
        (["10.0.0.1, 10.0.0.2"], None),
        ([""], None),
        ([], None),
        (["203.0.113.1," + "10.0.0.1," * 32 + "10.0.0.1"], None),
    ],
)
def test_the_client_behind_proxies_is_the_last_address_that_is_none(
    values: list[str], client: str | None
) -> None:
    assert forwarded_for(values, TRUSTED) == client


@given(st.lists(st.text(max_size=60), max_size=4))
def test_whatever_a_header_holds_names_an_untrusted_address_or_nobody(values: list[str]) -> None:
    client = forwarded_for(values, TRUSTED)
    assert client is None or (client_key(client) and not is_within(client, TRUSTED))


def test_connections_are_counted_by_host() -> None:
    assert client_key("203.0.113.1") == client_key("::ffff:203.0.113.1") == "203.0.113.1"
    assert client_key("2001:db8::1") == client_key("2001:db8::ffff:2") == "2001:db8::/64"
    assert client_key("2001:db8:0:1::1") != client_key("2001:db8::1")
    assert client_key("fe80::1%eth0") == client_key("fe80::2%eth1")
    assert client_key("") == ""


def test_a_crowded_server_keeps_places_for_addresses_that_have_few() -> None:
    limits = HttpLimits(connections=400, connections_per_address=64)
    most = [limits.most_of_one(is_open) for is_open in (0, 299, 300, 399, 400, 401)]
    assert most == [64, 64, 8, 8, 0, 0]
    assert HttpLimits(connections=4, connections_per_address=2).most_of_one(3) == 1
