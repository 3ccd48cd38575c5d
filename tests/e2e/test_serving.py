"""A service behind gateways of a real site: two of them, and what ends on the way."""

import signal
from collections.abc import Iterator

import pytest

from support.programs.serving_site import ServingSite

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180), pytest.mark.xdist_group("serving")]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingSite]:
    """Two gateways, one node, a service that answers through both."""
    folder = tmp_path_factory.mktemp("serving")
    with ServingSite(folder, more_gateways=("another",)) as made:
        made.start_node("n1")
        made.start_gateway("gateway")
        made.start_gateway("another")
        made.serve()
        made.until(lambda: made.answer("gateway") == "hello", "an answer")
        yield made


def test_two_gateways_answer_and_either_one_alone(site: ServingSite) -> None:
    site.until(lambda: site.answer("another") == "hello", "an answer through the other gateway")
    assert site.answer("gateway") == "hello"
    assert len(site.workers("gateway")) == len(site.workers("another")) == 1
    for killed, left in (("gateway", "another"), ("another", "gateway")):
        site.stop(killed, signal.SIGKILL)
        for _ in range(10):
            assert site.answer(left) == "hello"
        site.start_gateway(killed)
        site.until(lambda: site.answer(killed) == "hello", f"{killed} is back")  # noqa: B023
