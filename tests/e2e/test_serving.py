"""A service behind gateways of a real site: two of them, and what ends on the way."""

import json
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.programs.serving_site import ServingSite, SteadyLoad, by_systemd, steady_load
from wattline_runtime.gateway.connections import takeover

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180), pytest.mark.xdist_group("serving")]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingSite]:
    """Two gateways, one node, a service that answers through both."""
    folder = tmp_path_factory.mktemp("serving")
    with ServingSite(folder, more_gateways=("another",)) as made:
        made.start_node("n1")
        logs = ("--access-log", str(folder / "access.log"), "--body-log", str(folder / "bodies"))
        made.start_gateway("gateway", *logs)
        made.start_gateway("another")
        made.until_shown("another was enrolled", "events")
        made.serve()
        made.until(lambda: made.answer("gateway") == "hello", "an answer")
        yield made


def test_requests_are_read_through_the_scheduler(site: ServingSite) -> None:
    for _ in range(3):
        assert site.answer("gateway") == "hello"
    url = f"{site.url()}/v1/services/echo/infer"
    assert httpx.post(url, json={"inputs": []}, timeout=10).status_code == 400

    def missing() -> list[str]:
        rows = site.json("service", "echo", "requests")["missing"]
        return [f"{one['gateway']} {one['why']}" for one in rows]

    def found(*flags: str) -> list[int]:
        read = site.json("service", "echo", "requests", *flags)
        return [one["status"] for one in read["requests"]]

    site.until(lambda: "another keeps no access log" in missing()[0], "the other is connected")
    assert len(missing()) == 1
    site.until(lambda: found("--limit", "4") == [400, 200, 200, 200], "all lines are written")
    assert found("--status", "4xx", "--since", "1m") == [400]
    assert found("--status", "504") == []
    shown = site.wattline("service", "echo", "requests", "--limit", "1")
    assert "there are older requests" in shown
    assert "gateway another keeps no access log" in shown


def test_a_service_is_compared_with_itself_and_its_joules_are_shown(site: ServingSite) -> None:
    samples = site.site / "samples.jsonl"
    samples.write_text("".join(f'{{"input": "hello {n}"}}\n' for n in range(20)))
    flags = ("--samples", str(samples), "--url", site.url(), "--users", "2")
    found = site.json("model", "compare", "echo", "echo", *flags)
    assert (found["samples"], found["equal"], found["agreement"]) == (20, 20, 1.0)
    assert found["a"]["joules_per_1000_requests"] > 0
    assert found["a"]["gpu_memory_bytes"] is not None
    site.until(lambda: site.json("service", "echo")["energy"] is not None, "gateways report it")
    (worker,) = site.json("service", "echo")["workers"]
    assert worker["joules"] > 0


def test_bodies_are_logged_blanked_and_read_on_record(site: ServingSite) -> None:
    flags = ("--log-bodies", "share=1,blank=email", "--slo", "p95=30s")
    number = site.serve(*flags, service="logged")
    text = "from ada@site.example"
    site.until(lambda: site.answer("gateway", text, "logged") == text, "an answer")
    site.until(lambda: site.json("service", "logged")["slo"]["measured_p95_ms"], "its load")
    assert site.json("service", "logged")["slo"]["p95_ms"] == 30_000.0

    def bodies() -> list[str]:
        return site.wattline("service", "logged", "bodies", "--since", "1h").splitlines()

    site.until(bodies, "its line is written")
    found = [json.loads(line) for line in bodies()]
    assert {line["request"]["input"] for line in found} == {"from [email]"}
    events = map(json.loads, site.wattline("events", "--acts", "--json").splitlines())
    acts = [one for one in events if one["kind"] == "bodies_read"]
    assert acts[-1]["who"] == "admin"
    assert acts[-1]["text"].startswith(f"{len(found)} request")
    assert "with bodies of service logged, since " in acts[-1]["text"]
    site.wattline("cancel", number)


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


def test_cache_fallback_and_slo_of_a_job_take_effect(site: ServingSite) -> None:
    flags = ("--cache", "ttl=1m,size=1MiB", "--fallback", "echo")
    number = site.serve(*flags, "--hold", service="kept")

    def headers() -> httpx.Headers:
        url = f"{site.url()}/v1/services/kept/infer"
        return httpx.post(url, json={"input": "hello"}, timeout=10).headers

    site.until(lambda: headers().get("wattline-answer") == "fallback", "echo answers instead")
    site.wattline("release", number)
    site.until(lambda: "wattline-answer" not in headers(), "it answers by itself")
    site.until(lambda: headers().get("wattline-cache") == "hit", "its answer is kept")
    site.wattline("update", number, "--cache", "none", "--fallback", "none")
    site.until(lambda: "wattline-cache" not in headers(), "it has no cache any more")
    site.wattline("update", number, "--slo", "p95=5s", "--replicas", "1-2")
    site.until(lambda: site.json("service", "kept")["watts"], "its load is known")
    shown = site.json("service", "kept")
    assert shown["watts"]["wanted"] >= shown["watts"]["floor"] > 0
    assert (shown["replicas"]["min"], shown["replicas"]["max"]) == (1, 2)
    assert shown["replicas"]["why"]
    site.wattline("cancel", number)


HTTP_SERVER = Path(__file__).parents[2] / "examples" / "serving" / "http_server.py"

BREAKS = """
class Breaks:
    def load(self, args):
        raise ValueError("no weights at /models/none")

    def predict(self, batch):
        return batch
"""


def test_a_route_is_declared_by_a_job_file_counted_and_removed(
    site: ServingSite, tmp_path: Path
) -> None:
    file = tmp_path / "front.toml"
    rules = '[[route.rule]]\nheader = { x-team = ["search"] }\nto = "later"\n'
    file.write_text(f'kind = "route"\n[[route]]\nname = "front"\nto = "echo"\n{rules}')
    assert "later does not exist yet" in site.wattline("submit", str(file))
    site.until(lambda: site.answer(service="front") == "hello", "an answer")
    url = f"{site.url('another')}/v1/services/front/infer"
    site.until(lambda: site.answer("another", service="front") == "hello", "the other gateway")
    answered = httpx.post(url, json={"input": "hello"}, timeout=10)
    assert answered.headers["wattline-service"] == "echo"
    refused = httpx.post(url, json={"input": 1}, headers={"x-team": "search"}, timeout=10)
    assert refused.json()["error"]["reason"] == "no_service"

    def counts() -> list[tuple[int, str, int]]:
        rows = site.json("service", "front")["rules"]
        return [(row["rule"], row["to"], row["requests"]) for row in rows]

    site.until(lambda: counts() == [(1, "later", 1), (0, "echo", 3)], "the counts")
    assert "service later does not exist" in site.wattline("services")
    site.stop("scheduler", signal.SIGKILL)
    assert site.answer(service="front") == "hello"
    site.start_scheduler()
    assert site.answer(service="front") == "hello"
    site.until(lambda: counts()[1][2] >= 1, "it is on record, and counted anew")
    assert [row[:2] for row in counts()] == [(1, "later"), (0, "echo")]
    doubled = file.read_text() + rules
    file.write_text(doubled)
    wrong = site.run("submit", str(file))
    assert "front.toml:8: no request can reach rule 2: rule 1 matches all" in wrong.stderr
    service = site.run("submit", "--name=front", "--kind=service", "--", "true")
    assert "is the name of a route" in service.stderr
    site.wattline("service", "front", "remove")
    site.until(
        lambda: httpx.post(url, json={"input": 1}, timeout=10).status_code == 404, "it is removed"
    )


def test_services_show_what_serves_and_why_a_model_does_not_load(site: ServingSite) -> None:
    (site.folder / "breaks.py").write_text(BREAKS)
    model = ("-m", "wattline_runtime.serve", "--model", "breaks:Breaks")
    options = ("--kind", "service", "--name", "broken", "--gpus", "1")
    path = ("--env", f"PYTHONPATH={site.folder}")
    number = site.submit(*options, *path, "--", sys.executable, *model)

    def reasons() -> list[str]:
        return [worker["reason"] for worker in site.json("service", "broken")["workers"]]

    why = "no weights at /models/none"
    site.until(lambda: any(why in one for one in reasons()), "why it does not load")
    (broken,) = (one for one in site.json("services") if one["name"] == "broken")
    assert broken["revision"] == int(number)
    assert broken["replicas"] == {"min": 1, "max": 1, "want": 1, "ready": 0, "why": ""}
    assert why in site.wattline("service", "broken")
    (replica,) = site.json("service", "broken", "workers", "--where", "reason~weights")
    assert replica["task"].startswith(f"{number}.0#")
    site.until(lambda: site.json("service", "echo")["replicas"]["ready"] == 1, "echo is ready")
    echo = site.json("service", "echo")
    assert list(echo)[:5] == ["name", "owner", "revision", "replicas", "workers"]
    (worker,) = echo["workers"]
    assert list(worker)[:5] == ["task", "node", "state", "in_flight", "batch_s"]
    assert (worker["node"], worker["state"]) == ("n1", "ready")
    listed = httpx.get(f"{site.url()}/v1/services", timeout=10).json()["services"]
    (shown,) = (one for one in listed if one["name"] == "echo")
    assert (shown["owner"], shown["revision"]) == (echo["owner"], echo["revision"])
    site.wattline("cancel", number)
    site.until(lambda: "broken" not in site.wattline("services"), "it is no service any more")


def test_an_http_server_is_a_service_by_its_command(site: ServingSite) -> None:
    options = ("--kind", "service", "--name", "behind", "--gpus", "1", "--grace", "2s")
    http = ("--http", "health=/health,methods=predict,capacity=3")
    number = site.submit(*options, *http, "--", sys.executable, str(HTTP_SERVER), "{port}")
    site.until(lambda: site.answer(service="behind") == {"echo": "hello"}, "the server's answer")
    site.until(lambda: site.json("service", "behind")["replicas"]["ready"] == 1, "it is ready")
    site.wattline("cancel", number)


def test_a_successor_takes_over_without_a_failed_request(site: ServingSite) -> None:
    workers = site.workers()
    with steady_load(site.url()) as load:
        site.until(lambda: load.outcomes["ok"] > 40, "answers")
        site.start_gateway("gateway", "--takeover", program="successor")
        assert site.ended("gateway") == 0
    assert_all_answered(load)
    assert load.slowest_s < 2.0, "nobody waited for a start"
    assert site.workers() == workers
    assert "gateway_succeeded" in site.tail("gateway", 50)
    site.stop("successor")
    site.start_gateway("gateway")
    site.until(lambda: site.answer() == "hello", "the gateway is back")


def test_a_successor_that_ends_too_soon_changes_nothing(site: ServingSite) -> None:
    host, port = site.address()
    with steady_load(site.url()) as load:
        successor = takeover.connect(host, port)
        assert successor is not None
        assert successor.offer.ready_workers == 1
        site.until(lambda: load.outcomes["ok"] > 40, "answers")
        for listener in successor.clients:
            listener.close()
        successor.close()
        site.until(lambda: "successor_lost" in site.tail("gateway", 50), "it goes on")
        answered = load.outcomes["ok"]
        site.until(lambda: load.outcomes["ok"] > answered + 100, "answers")
    assert_all_answered(load)
    site.until(lambda: set(site.workers().values()) == {"ready"}, "its workers are there")


def test_a_restart_behind_a_socket_of_systemd_fails_no_request(site: ServingSite) -> None:
    site.stop("gateway")
    with socket.create_server(site.address(), backlog=1024) as listener:
        within = by_systemd(listener)
        site.start_gateway("gateway", within=within)
        site.until(lambda: site.answer() == "hello", "an answer")
        with steady_load(site.url()) as load:
            site.until(lambda: load.outcomes["ok"] > 40, "answers")
            site.stop("gateway")
            site.start_gateway("gateway", within=within)
            answered = load.outcomes["ok"]
            site.until(lambda: load.outcomes["ok"] > answered + 40, "answers after the restart")
        assert_all_answered(load)
        site.stop("gateway")
    site.start_gateway("gateway")


def assert_all_answered(load: SteadyLoad) -> None:
    assert load.outcomes.keys() == {"ok"}, load.outcomes
