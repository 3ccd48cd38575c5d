"""`wattline drain --wait`: what is said, and how often."""

import pytest

from wattline.verbs.run import load

OVER = "n2 is drained"


class Answering:
    """A client whose node has work for a while, or none."""

    def __init__(self, told: str) -> None:
        self.told = told
        self.is_waited_for = False

    def drain(self, node: str, reason: str, *, now: bool) -> str:
        assert (node, reason, now) == ("n2", "", False)
        return self.told

    def wait_drained(self, node: str) -> None:
        assert node == "n2"
        self.is_waited_for = True


@pytest.mark.parametrize("told", [OVER, "n2 is draining: 1 task still runs there"])
def test_that_a_node_is_empty_is_said_once(told: str, capsys: pytest.CaptureFixture[str]) -> None:
    client, drain = Answering(told), load("wattline.acts.nodes:drain")
    answer = drain(client, node="n2", after_jobs=False, now=False, wait=True, reason="")
    assert answer == OVER
    assert client.is_waited_for == (told != OVER)
    assert capsys.readouterr().err == ("" if told == OVER else f"{told}\n")
