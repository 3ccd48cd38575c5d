"""Energy of requests: a real worker reads the counter of a simulated GPU, the test is its clock."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.node.simnode import VirtualNode, make_node, virtual
from support.programs.serving_stack import SERVICE, Stack, serving_stack, wait_for
from wattline.acts.serving.comparison import comparison
from wattline.acts.serving.model_compare import answer_all, judge, judge_by_model
from wattline.client.errors import NotFound
from wattline.client.gateway_http import GatewayHttp
from wattline.client.samples import Answered, parse_sample

IDLE = "revision_idle_joules_total"
MODEL = """
import time
from wattline_runtime.serve.openai import Finish

class Work:
    def load(self, args): ...

    def cost(self, value):
        return value

    def predict(self, batch):
        time.sleep(0.02)
        return batch

    def compare(self, old, new):
        return abs(old - new) <= 1

    def chat(self, request):
        for word in ("a", "b"):
            time.sleep(0.02)
            yield word
        yield Finish(3, 2, "stop")
"""


class Metered:
    """A stack whose worker has the first GPU of a node."""

    def __init__(self, stack: Stack, node: VirtualNode) -> None:
        self.stack, self.node = stack, node
        self.file = stack.directory / "work.py"
        self.file.write_text(MODEL)

    def start_worker(self, gpu: int = 0, **options: Any) -> None:
        environment = {**self.node.node.env(), "CUDA_VISIBLE_DEVICES": self.node.served.uuids[gpu]}
        self.stack.start_worker(model=f"{self.file}:Work", environment=environment, **options)

    @property
    def counter_j(self) -> float:
        return float(self.node.served.state.gpus[0].telemetry.energy_mj) / 1000

    def metric(self, name: str) -> float:
        return self.stack.metric(name, service=SERVICE, revision="1")

    def run(self, seconds: float) -> None:
        """Time on the simulated clock, no faster than a GPU may draw by the real one."""
        for _ in range(round(seconds / 0.05)):
            self.node.advance(0.05)
            time.sleep(0.01)

    def sum_j(self) -> float:
        return self.metric("revision_joules_total") + self.metric("revision_idle_joules_total")


@pytest.fixture
def metered(tmp_path: Path) -> Iterator[Metered]:
    with virtual(make_node(tmp_path / "node", gpus=2)) as node, serving_stack(tmp_path) as stack:
        stack.start_gateway(f"--access-log={tmp_path / 'access.jsonl'}")
        yield Metered(stack, node)


def test_the_joules_of_all_requests_and_the_idle_ones_are_those_of_the_counter(
    metered: Metered,
) -> None:
    began_j = metered.counter_j
    metered.start_worker()

    def is_metered() -> bool:
        metered.run(0.05)
        return metered.metric("revision_idle_joules_total") > 0

    wait_for(is_metered, "the first readings")
    found: list[float] = []
    metered.node.load(0, "training-hot")
    for number in range(20):
        metered.run(0.1)
        answer = metered.stack.infer({"inputs": [1, 3]} if number % 2 else {"input": 2})
        found.append(float(answer.headers["wattline-joules"]))
    url = metered.stack.url("/v1/chat/completions")
    body = {"model": SERVICE, "messages": [{"role": "user", "content": "x"}]}
    answer = httpx.post(url, json=body, timeout=30)
    found.append(float(answer.headers["wattline-joules"]))
    streamed = httpx.post(url, json={**body, "stream": True}, timeout=30)
    comment, end = streamed.text.strip().split("\n\n")[-2:]
    assert end == "data: [DONE]"
    found.append(float(comment.removeprefix(": wattline-joules ")))
    metered.node.load(0, None)

    def all_is_booked() -> bool:
        metered.run(0.1)
        grown_j = metered.counter_j - began_j
        return abs(metered.sum_j() - grown_j) <= 0.01 * grown_j

    wait_for(all_is_booked, "the sum is the counter's growth within 1 %")
    assert metered.metric("revision_joules_total") == pytest.approx(sum(found), abs=1e-3)
    assert metered.metric("revision_measured_outputs_total") == 32
    assert metered.metric("revision_measured_tokens_total") == 10
    assert min(found) >= 0
    lines = (metered.stack.directory / "access.jsonl").read_text
    wait_for(lambda: lines().count('"joules":') == 22, "the access log")


def test_two_services_are_compared_by_what_their_gpus_drew(metered: Metered) -> None:
    metered.start_worker()
    metered.start_worker(gpu=1, service="other", job=2)
    metered.node.load(1, "training-hot")
    names, samples = (SERVICE, "other"), [parse_sample(b'{"input": %d}' % n) for n in range(1, 11)]
    gateway = GatewayHttp(metered.stack.endpoints["http_url"], "")
    ended = threading.Event()

    def tick() -> None:
        while not ended.is_set():
            metered.run(0.05)

    clock = threading.Thread(target=tick)
    clock.start()
    try:
        wait_for(lambda: metered.stack.metric(IDLE, service="other", revision="2"), "readings")
        pairs = answer_all(gateway, names, samples, users=2)
        with pytest.raises(NotFound, match="there is no service 'third'"):
            answer_all(gateway, (SERVICE, "third"), samples, users=2)
    finally:
        ended.set()
        clock.join()
    near, far = (Answered(b"%d" % n, 0.0) for n in (2, 9))
    one = Answered(b"1", 0.0)
    by_model = judge_by_model(gateway, "other", [(one, near), (one, far), (one, one)])
    assert by_model == ["equal", "different", "equal"]
    assert judge_by_model(gateway, "other", [(one, Answered(b'"x"', 0.0))]) == ["uncompared"]
    found = comparison("equal", (None, None), names, pairs, judge(pairs, 0.0))
    assert (found.equal, found.agreement) == (10, 1.0)
    idle, hot = found.a.joules_per_1000_requests, found.b.joules_per_1000_requests
    assert idle is not None
    assert hot is not None
    assert hot > 2 * idle > 0


def test_without_a_counter_nothing_is_claimed(metered: Metered) -> None:
    metered.stack.start_worker(model=f"{metered.file}:Work")
    answer = metered.stack.infer({"input": 1})
    assert answer.status_code == 200
    url = metered.stack.url(f"/v1/services/{SERVICE}/compare")
    refused = httpx.post(url, json={"old": 1})
    assert (refused.status_code, refused.json()["error"]["reason"]) == (400, "malformed")
    assert httpx.post(url, json={"old": 1, "new": 2}).json() == {"equal": True}
    assert "wattline-joules" not in answer.headers
    assert "revision_joules_total{" not in httpx.get(metered.stack.url("/metrics")).text
