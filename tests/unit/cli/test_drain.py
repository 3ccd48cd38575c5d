"""`wattline drain --wait`: what is said, and how often."""

import pytest

from wattline.verbs.run import load

OVER = "n2 is drained"


class Answering:
    """A client whose node has work for a while, or none."""

    def __init__(self, reported: str) -> None:
        self.reported = reported
        self.is_waited_for = False

    def drain(self, node: str, reason: str, *, now: bool) -> str:
        assert (node, reason, now) == ("n2", "", False)
        return self.reported

    def wait_drained(self, node: str) -> None:
        assert node == "n2"
        self.is_waited_for = True


@pytest.mark.parametrize("reported", [OVER, "n2 is draining: 1 task still runs there"])
def test_that_a_node_is_empty_is_said_once(
    reported: str, capsys: pytest.CaptureFixture[str]
) -> None:
    client, drain = Answering(reported), load("wattline.acts.nodes:drain")
    answer = drain(client, node="n2", after_jobs=False, now=False, wait=True, reason="")
    assert answer == OVER
    assert client.is_waited_for == (reported != OVER)
    assert capsys.readouterr().err == ("" if reported == OVER else f"{reported}\n")
