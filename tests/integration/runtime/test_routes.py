"""Routes and cascades over HTTP, with a real gateway and two small models."""

import hashlib
import json
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.programs.serving_stack import Stack, serving_stack, wait_for
from wattline_protocol.job.file import parse_job
from wattline_protocol.routing.file import parse_routes

MODEL = '''
class Model:
    """Answers with its name; an input is its confidence."""

    def load(self, args):
        self.name = args["name"]

    def predict(self, batch):
        if self.name == "large" and any(x == 13 for x in batch):
            raise ValueError("no 13")
        return [{"by": self.name, "input": x, "confidence": x} for x in batch]

    def chat(self, request):
        return f"{self.name} as {request['model']}"
'''
CASCADE = """
[[route]]
name = "digits"
cascade = ["small", "large"]
limit = 0.8
"""


EXAMPLES = Path(__file__).parents[3] / "examples" / "serving"


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    (tmp_path / "model.py").write_text(MODEL)
    with serving_stack(tmp_path) as running:
        yield running


def start(stack: Stack, name: str, job: int) -> None:
    model = f"{stack.directory / 'model.py'}:Model"
    stack.start_worker(f"--arg=name={name}", model=model, service=name, job=job)


def by(reply: httpx.Response) -> str:
    assert reply.status_code == 200, reply.text
    return f"{reply.json()['output']['by']} {reply.headers['wattline-service']}"


def routes_are(stack: Stack, *names: str) -> None:
    def known() -> bool:
        found = httpx.get(stack.url("/v1/services")).json().get("routes", [])
        return [one["name"] for one in found] == list(names)

    wait_for(known, "the routes are known")


def test_rules_choose_by_size_header_field_and_share(stack: Stack) -> None:
    stack.start_gateway()
    for job, name in enumerate(("small", "large"), 1):
        start(stack, name, job)
    stack.write_route(
        """
        [[route]]
        name = "digits"
        to = "small"
        sticky = "x-user"
        [[route.rule]]
        min_inputs = 3
        to = "large"
        [[route.rule]]
        header = { x-team = ["search"] }
        to = "large"
        [[route.rule]]
        field = { "input.mode" = [1, "good"] }
        to = "large"
        [[route.rule]]
        share = 0.3
        to = "large"
        """
    )
    routes_are(stack, "digits")
    many = stack.infer({"inputs": [1, 2, 3]}, "digits")
    assert [one["by"] for one in many.json()["outputs"]] == ["large"] * 3
    assert by(stack.infer({"input": 1}, "digits", **{"x-team": "search"})) == "large large"
    assert by(stack.infer({"input": {"mode": "good"}}, "digits")) == "large large"
    counts = Counter(
        by(stack.infer({"input": {"mode": True}}, "digits", **{"x-user": f"user-{number}"}))
        for number in range(100)
        for _ in range(2)
    )
    assert counts["large large"] % 2 == 0  # a user has one service
    assert 30 <= counts["large large"] <= 90  # 60 ± 4.6 σ
    assert sum(counts.values()) == 200
    routed = {"route": "digits", "service": "large"}
    assert [stack.metric("routed_total", rule=str(rule), **routed) for rule in (1, 2, 3)] == [1] * 3
    assert stack.metric("routed_total", rule="4", **routed) == counts["large large"]
    assert stack.metric("requests_total", service="digits", status="200") == 203


def test_a_cascade_escalates_what_is_below_the_limit_and_keeps_the_order(stack: Stack) -> None:
    stack.start_gateway()
    for job, name in enumerate(("small", "large"), 1):
        start(stack, name, job)
    stack.write_route(CASCADE)
    routes_are(stack, "digits")
    sure = stack.infer({"input": 0.9}, "digits")
    assert (by(sure), sure.headers["wattline-cascade"]) == ("small small", "kept")
    mixed = stack.infer({"inputs": [0.1, 0.8, 0.2, 1]}, "digits")
    assert [(one["by"], one["input"]) for one in mixed.json()["outputs"]] == [
        ("large", 0.1),
        ("small", 0.8),
        ("large", 0.2),
        ("small", 1),
    ]
    assert mixed.headers["wattline-service"] == "large, small"
    assert mixed.headers["wattline-cascade"] == "escalated"
    unrated = stack.infer({"input": "no number"}, "digits")
    assert by(unrated) == "large large"
    chat = httpx.post(
        stack.url("/v1/chat/completions"),
        json={"model": "digits", "messages": [{"role": "user", "content": "x"}]},
        timeout=30,
    )
    assert chat.status_code == 200, chat.text
    assert chat.json()["choices"][0]["message"]["content"] == "large as large"
    listed = httpx.get(stack.url("/v1/models")).json()["data"]
    assert [one["id"] for one in listed] == ["digits", "large", "small"]
    counted = {
        end: stack.metric("cascade_inputs_total", outcome=end, route="digits", rule="0")
        for end in ("kept", "escalated", "failed")
    }
    assert counted == {"kept": 3, "escalated": 4, "failed": 0}


def test_the_small_answer_stands_where_the_large_service_does_not_answer(stack: Stack) -> None:
    stack.start_gateway("--hold-s=0")
    stack.write_route(CASCADE)
    start(stack, "small", 1)
    alone = stack.infer({"input": 0.1}, "digits")
    assert (by(alone), alone.headers["wattline-cascade"]) == ("small small", "failed")
    stack.start_held(service="large", job=2)
    late = stack.infer({"input": 0.2, "timeout_ms": 800}, "digits")
    assert (by(late), late.headers["wattline-cascade"]) == ("small small", "failed")
    stack.processes[1].send_signal(signal.SIGKILL)
    wait_for(lambda: not stack.ready_workers("small"), "the small one is lost")
    stack.let_go()
    other = stack.infer({"input": 0.3}, "digits")
    assert (other.json(), other.headers["wattline-service"]) == ({"output": 0.3}, "large")


def test_keys_name_routes_and_not_the_services_behind_them(stack: Stack) -> None:
    secrets = {name: f"wl_{name}" for name in ("gold", "plain")}
    stack.grants = [
        {
            "name": name,
            "digest": hashlib.sha256(secret.encode()).hexdigest(),
            "services": ["digits"],
            "tier": name if name == "gold" else "",
        }
        for name, secret in secrets.items()
    ]
    stack.write_route(
        '[[route]]\nname = "digits"\nto = "gone"\n[[route.rule]]\ntiers = ["gold"]\nto = "svc"'
    )
    log = stack.directory / "access.log"
    stack.start_gateway("--closed", f"--access-log={log}")
    stack.start_worker(wait=False)
    gold, plain = ({"api-key": secret} for secret in secrets.values())
    wait_for(lambda: stack.infer({"input": 7}, "digits", **gold).is_success, "an answer")
    answered = stack.infer({"input": 7}, "digits", **gold)
    assert (answered.json(), answered.headers["wattline-service"]) == ({"output": 7}, "svc")
    assert stack.infer({"input": 7}, "svc", **gold).status_code == 403
    refused = stack.infer({"input": 7}, "digits", **plain)
    assert (refused.status_code, refused.json()["error"]["reason"]) == (503, "no_service")
    assert "route digits leads to gone" in refused.json()["error"]["message"]
    body = httpx.get(stack.url("/v1/services"), headers=plain).json()
    assert body["services"] == []
    assert body["routes"] == [{"name": "digits", "owner": "", "services": ["svc", "gone"]}]

    def lines() -> list[dict[str, object]]:
        return [json.loads(line) for line in log.read_text().splitlines()]

    wait_for(lambda: any(line["status"] == 503 for line in lines()), "the log")
    found = next(line for line in lines() if line["status"] == 200)
    assert [found[key] for key in ("route", "rule", "service")] == ["digits", 1, "svc"]


def test_the_example_escalates_what_the_small_model_is_unsure_of(stack: Stack) -> None:
    stack.start_gateway()
    for job, name in enumerate(("small", "large"), 1):
        spec = parse_job((EXAMPLES / f"{name}.toml").read_text(), name)
        assert (spec.name, spec.kind) == (name, "service")
        model = f"{EXAMPLES}/{spec.command[-1]}"
        stack.start_worker(model=model, service=spec.name, job=job)
    text = (EXAMPLES / "route.toml").read_text()
    stack.public = list(parse_routes(text, "route.toml"))
    stack.write_routes()
    routes_are(stack, "language")
    texts = ["der Hund und die Katze", "très égal", "why", "le chat est sur la table"]
    found = stack.infer({"inputs": texts}, "language")
    assert [one["language"] for one in found.json()["outputs"]] == ["de", "fr", "en", "fr"]
    assert found.headers["wattline-service"] == "small, large"
    assert found.headers["wattline-cascade"] == "escalated"
    many = stack.infer({"inputs": texts * 25}, "language")
    assert many.headers["wattline-service"] == "small"
    unknown = stack.infer({"input": "x"}, "nothing").json()["error"]["message"]
    assert unknown.endswith("known services: language, large, small, svc")
