"""Strangers, liars and garbage on the scheduler's sockets, and a killed gateway: refused, counted,
logged, and whatever runs meanwhile goes on."""

import json
import signal
import sys
from collections.abc import Iterator

import httpx
import msgspec
import psutil
import pytest

from support.programs.cli_site import CliSite
from support.programs.live_scheduler import WITHIN_S, WireAgent, WireClient, until
from support.programs.serving_site import opened
from wattline_protocol.ids import NodeId
from wattline_protocol.site.file import parse_site
from wattline_protocol.trust.keys import JoinBundle, KeyPair, load_bundle
from wattline_protocol.wire.agent_messages import Refused
from wattline_protocol.wire.codec import MAX_MESSAGE_BYTES
from wattline_protocol.wire.transport import ClientSocket

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120), pytest.mark.xdist_group("faults-wire")]

LIAR = "n2"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CliSite]:
    """Two nodes on the site's list, one of which is there."""
    with CliSite(tmp_path_factory.mktemp("wire"), nodes=("n1", LIAR), edit=opened) as made:
        made.start_node("n1")
        made.wattline("enroll", LIAR, "--role", "agent", "--site", str(made.site))
        yield made


@pytest.fixture
def working(site: CliSite) -> Iterator[tuple[int, int]]:
    """A job that runs on the honest node, and the process id of its task."""
    job = site.client.submit(command=["sleep", "300"], gpus=1)
    site.until_state(str(job), "RUNNING")
    site.until(lambda: _pid(site, job) is not None, lambda: f"a process id: {site.client.job(job)}")
    pid = _pid(site, job)
    assert pid is not None
    yield job, pid
    site.client.cancel(job)


def _pid(site: CliSite, job: int) -> int | None:
    return site.client.job(job).attempts[0].pid


@pytest.fixture(autouse=True)
def unharmed(site: CliSite, working: tuple[int, int]) -> Iterator[None]:
    """Whatever a test does: the job runs on, its node is heard, new work is accepted."""
    yield
    job, pid = working
    view = site.client.job(job)
    assert (view.state, [(a.attempt, a.pid) for a in view.attempts]) == ("RUNNING", [(1, pid)])
    assert psutil.pid_exists(pid)
    site.until(lambda: is_well(site), lambda: f"all is well: {site.client.node('n1')}")
    site.until_state(site.submit("--", "true"), "COMPLETED")


def is_well(site: CliSite) -> bool:
    node = site.client.node("n1")
    return (node.state, node.problems) == ("ok", ())


class Refusals:
    """Refusals since this was made: what the site counts, and what its log tells."""

    def __init__(self, site: CliSite) -> None:
        self._site = site
        self._counted = self._count()
        self._logged = len(self._lines())

    def until(self, *reasons: str) -> None:
        """Wait until so many are counted, and each reason is in the log."""
        wanted = set(reasons)
        self._site.until(lambda: self._count() - self._counted >= len(reasons), "counted")
        self._site.until(lambda: wanted <= set(self._lines()[self._logged :]), f"{wanted} logged")

    def _count(self) -> int:
        return self._site.client.site().refused_messages

    def _lines(self) -> list[str]:
        text = (self._site.folder / "scheduler.log").read_text()
        reported = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        return [line["reason"] for line in reported if line["event"] == "refused"]


def bundle(site: CliSite, name: str) -> JoinBundle:
    return load_bundle(site.bundle(name))


def is_turned_away(endpoint: str, keys: KeyPair, server_key: str) -> bool:
    socket = ClientSocket(endpoint, keys, server_key)
    try:
        return socket.wait_connected(WITHIN_S).state == "refused"
    finally:
        socket.close()


def test_an_unknown_key_gets_in_nowhere(site: CliSite) -> None:
    admin, refusals = bundle(site, "admin"), Refusals(site)
    for endpoint in (admin.agent_endpoint, admin.client_endpoint):
        assert is_turned_away(endpoint, KeyPair.generate(), admin.scheduler_public_key)
    refusals.until("unknown_key", "unknown_key")


def test_a_key_of_the_wrong_role_is_turned_away(site: CliSite) -> None:
    admin, liar, refusals = bundle(site, "admin"), bundle(site, LIAR), Refusals(site)
    server = admin.scheduler_public_key
    assert is_turned_away(admin.agent_endpoint, admin.keys, server)
    assert is_turned_away(admin.client_endpoint, liar.keys, server)
    refusals.until("wrong_role", "wrong_role")


def test_what_is_malformed_or_too_large_is_refused_in_words_or_dropped(site: CliSite) -> None:
    refusals = Refusals(site)
    with WireClient(bundle(site, "admin")).welcomed() as client:
        for data in (b"\xc1nonsense", msgspec.msgpack.encode({"t": "no_such_request"})):
            client.send_bytes(data)
            assert isinstance(client.next(), Refused)
        client.send_bytes(b"x" * (MAX_MESSAGE_BYTES + 1))
        refusals.until("malformed", "malformed", "oversize")


def test_garbage_from_an_enrolled_node_is_refused_too(site: CliSite) -> None:
    refusals = Refusals(site)
    with WireAgent(bundle(site, LIAR)).connected() as agent:
        agent.send_bytes(b"nonsense")
        agent.send_bytes(msgspec.msgpack.encode({"t": "beat", "seq": "one"}))
        agent.send_bytes(b"x" * (MAX_MESSAGE_BYTES + 1))
        refusals.until("malformed", "malformed", "oversize")


def test_another_version_is_refused_in_words(site: CliSite) -> None:
    refusals = Refusals(site)
    with WireClient(bundle(site, "admin"), protocol=99) as client:
        answer = client.greet()
        assert isinstance(answer, Refused)
        assert "protocol version 99 is not supported, this scheduler uses 1" in answer.reason
    refusals.until("wrong_version")


def test_a_node_cannot_speak_for_another(site: CliSite) -> None:
    refusals = Refusals(site)
    before = site.client.node("n1")
    with WireAgent(bundle(site, LIAR)).connected() as liar:
        liar.fake.say_hello(node=NodeId("n1"))
        until(lambda: liar.pump() and liar.heard, "an answer")
        answer = liar.heard[0]
        assert isinstance(answer, Refused)
        assert "not to n1" in answer.reason
    refusals.until("wrong_name")
    assert len(site.client.node("n1").gpus) == len(before.gpus)
    assert site.client.node(LIAR).state == "never heard"


def test_a_killed_gateway_comes_back_to_its_workers(site: CliSite) -> None:
    site.wattline("enroll", "gateway", "--role", "gateway", "--site", str(site.site))
    run_gateway(site)
    serve = (sys.executable, "-m", "wattline_runtime.serve")
    model = ("--model", "wattline_examples.serve_echo:Echo")
    flags = ("--kind", "service", "--name", "echo", "--gpus", "1", "--grace", "2s")
    job = site.submit(*flags, "--", *serve, *model)
    site.until(lambda: is_echoed(site, "before"), "an answer")
    worker = site.client.job(int(job)).attempts
    site.stop("gateway", signal.SIGKILL)
    assert site.client.job(int(job)).state == "RUNNING"
    run_gateway(site)
    site.until(lambda: is_echoed(site, "after"), "an answer of the same worker")
    again = site.client.job(int(job)).attempts
    assert [(a.attempt, a.pid) for a in again] == [(a.attempt, a.pid) for a in worker]
    site.wattline("cancel", job)
    site.until_state(job, "CANCELLED")


def run_gateway(site: CliSite) -> None:
    where = ("--bundle", str(site.bundle("gateway")), "--site", str(site.site))
    site.start("gateway", "gateway", *where)


def is_echoed(site: CliSite, text: str) -> bool:
    """The service answers through the gateway."""
    (gateway,) = parse_site((site.site / "site.toml").read_text(), "site.toml").gateways
    url = f"http://{gateway.http_address}/v1/services/echo/infer"
    try:
        answer = httpx.post(url, json={"input": text}, timeout=5.0)
    except httpx.TransportError:
        return False
    return answer.status_code == 200 and answer.json()["output"] == text
