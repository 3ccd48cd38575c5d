"""The table out_of_band: one for the site or for a node, each node with a switch of its own."""

import pytest

from wattline_protocol.ids import NodeId
from wattline_protocol.site.file import SiteFileError, parse_site
from wattline_protocol.site.model import Site
from wattline_protocol.site.out_of_band import OffByCommand, OffByRedfish, OutOfBand
from wattline_protocol.site.sensing import Access
from wattline_protocol.site.text import format_site

HEAD = """
[site]
name = "lab"
agent_endpoint = "tcp://10.0.0.5:7701"
client_endpoint = "tcp://10.0.0.5:7702"
[[power_domain]]
name = "feed"
rating = "100kW"
"""
NODES = """
[[node]]
name = "n[1-2]"
rack = "r"
inputs = ["feed"]
nameplate = "10kW"
non_gpu_worst = "2kW"
"""
LONE = NODES.replace("n[1-2]", "m1")

REDFISH = """
[out_of_band]
redfish = "https://bmc-{node}/redfish/v1/Systems/1"
user = "power"
secret_file = "/etc/{node}.secret"
timeout = "12s"
"""
BY_COMMAND = """
[node.out_of_band]
status_command = ["pdu", "status", "{node}"]
off_command = ["pdu", "off", "{node}"]
automatic = false
"""


def read(*parts: str) -> Site:
    return parse_site("".join((HEAD, *parts)), "site.toml")


def ways(site: Site) -> dict[NodeId, OutOfBand | None]:
    return {node.id: node.out_of_band for node in site.nodes}


def problem(*parts: str) -> str:
    with pytest.raises(SiteFileError) as caught:
        read(*parts)
    return "\n".join(caught.value.problems)


def test_the_site_has_one_for_all_nodes_and_a_node_its_own() -> None:
    found = ways(read(REDFISH, NODES, LONE, BY_COMMAND))
    access = Access("power", "/etc/n2.secret")
    url = "https://bmc-n2/redfish/v1/Systems/1"
    assert found[NodeId("n2")] == OutOfBand(OffByRedfish(url, access), 12.0)
    command = OffByCommand(("pdu", "status", "m1"), ("pdu", "off", "m1"))
    assert found[NodeId("m1")] == OutOfBand(command, is_automatic=False)


def test_without_the_table_there_is_none() -> None:
    assert set(ways(read(NODES)).values()) == {None}


@pytest.mark.parametrize("parts", [(REDFISH, NODES), (NODES, BY_COMMAND), (REDFISH, LONE)])
def test_a_site_is_written_and_read_back(parts: tuple[str, ...]) -> None:
    site = read(*parts)
    assert parse_site(format_site(site), "again") == site


def test_who_can_only_be_asked_is_not_automatic() -> None:
    asked = BY_COMMAND.replace('off_command = ["pdu", "off", "{node}"]\nautomatic = false\n', "")
    declared = ways(read(NODES, asked))[NodeId("n1")]
    assert declared is not None
    assert not declared.can_switch_off
    site = read(NODES, asked)
    assert parse_site(format_site(site), "again") == site


@pytest.mark.parametrize(
    ("shared", "said"),
    [
        (REDFISH.replace("bmc-{node}", "bmc"), "the same switch"),
        (BY_COMMAND.replace('"off", "{node}"', '"off", "all"'), "the same switch"),
        (BY_COMMAND.replace('"status", "{node}"', '"status"'), "the same switch"),
    ],
)
def test_two_nodes_never_share_a_switch(shared: str, said: str) -> None:
    parts = (shared, NODES) if "[out" in shared else (NODES, shared)
    assert said in problem(*parts)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('status_command = ["pdu", "status", "{node}"]\n', "", "off must be confirmed"),
        ("automatic = false", 'redfish = "https://bmc-{node}/x"', "expected either"),
        ("automatic = false", 'user = "power"', "applies to redfish"),
        ("automatic = false", 'timeout = "10m"', "timeout"),
        ("automatic = false", "automatik = true", "the nearest is automatic"),
        (
            'off_command = ["pdu", "off", "{node}"]\nautomatic = false',
            "automatic = true",
            "automatic requires off_command",
        ),
    ],
)
def test_what_is_wrong_is_told(old: str, new: str, said: str) -> None:
    assert old in BY_COMMAND
    assert said in problem(NODES, BY_COMMAND.replace(old, new))


def test_an_empty_table_and_a_secret_in_the_clear_are_refused() -> None:
    assert "expected either" in problem("[out_of_band]\n", NODES)
    assert "https" in problem(REDFISH.replace("https", "http"), NODES)
