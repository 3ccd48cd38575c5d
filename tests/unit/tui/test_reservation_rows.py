"""Reservations as rows of text, and what a node says of its own."""

import msgspec

from support.core.site_views import NOON, busy_site, reservations_now
from wattline_protocol.ids import JobId, NodeId
from wattline_tui.render.reservation_text import SHOWN_BELOW, reservation_text
from wattline_tui.screens.node import facts_of


def test_below_stands_everything_up_to_a_bound() -> None:
    course, fans = reservations_now().reservations
    assert reservation_text(course).splitlines() == [
        "by olga: summer school, room 3",
        "nodes: gpu-01, gpu-02",
        "jobs in it: 1, 2, 5, 8",
        "jobs of other users still running there: 4",
    ]
    assert reservation_text(fans).splitlines()[0] == "by olga"
    assert reservation_text(fans).splitlines()[2:] == [
        "jobs in it: none",
        "jobs of other users still running there: none",
    ]
    many = msgspec.structs.replace(
        course, nodes=tuple(NodeId(f"n{at}") for at in range(SHOWN_BELOW + 2)), jobs=(JobId(1),)
    )
    assert reservation_text(many).splitlines()[1].endswith(f"n{SHOWN_BELOW - 1} and 2 more")


def test_a_node_says_what_is_reserved_of_it() -> None:
    node = busy_site().nodes[0]
    said = "reserved as course for user ada until 22:10"
    assert said not in facts_of(node, NOON)
    assert said in facts_of(msgspec.structs.replace(node, reserved=said), NOON).splitlines()
