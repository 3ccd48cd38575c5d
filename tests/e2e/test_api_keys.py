"""API keys end to end: made by a command, checked by the gateway of a real site."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from support.programs.serving_site import ServingSite, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180), pytest.mark.xdist_group("serving")]

WITHIN_S = 3.0
"""From the answer of a command to its effect at the gateway: a second, plus a busy machine."""
ANSWERED_S = 15.0
"""Wrong keys of an address are answered up to 5 s later, also those of a test that tries early."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingSite]:
    """Two closed gateways and a service behind them."""
    folder = tmp_path_factory.mktemp("keys")
    with ServingSite(folder, more_gateways=("another",), is_open=False) as made:
        made.start_node("n1")
        start_gateway(made)
        made.start_gateway("another")
        made.serve()
        key = add(made, "first")
        made.until(lambda: infer(made, key) == "200", "an answer")
        yield made


def start_gateway(site: ServingSite) -> None:
    site.start_gateway("gateway", "--batch-dir", str(site.site / "batches"))


def add(site: ServingSite, name: str, *flags: str, service: str = "echo") -> str:
    made = json.loads(site.wattline("key", "add", name, "--service", service, *flags, "--json"))
    key: str = made["key"]
    time.sleep(0.5)  # it is at the gateways then
    return key


def infer(site: ServingSite, key: str, service: str = "echo", gateway: str = "gateway") -> str:
    """Status, and the reason of a refusal."""
    try:
        answer = httpx.post(
            f"{site.url(gateway)}/v1/services/{service}/infer",
            json={"input": 1},
            headers={"authorization": f"Bearer {key}"} if key else {},
            timeout=20,
        )
    except httpx.TransportError as error:
        return repr(error)
    reason = answer.json().get("error", {}).get("reason", "")
    return f"{answer.status_code} {reason}".strip()


def refused_after_s(site: ServingSite, key: str) -> float:
    """From now to the first request that is refused; its answer may come later."""
    began_s = time.monotonic()
    while time.monotonic() < began_s + 60:
        sent_s = time.monotonic()
        if infer(site, key) == "401 unauthorized":
            return sent_s - began_s
    raise AssertionError("it is still accepted")


def services(site: ServingSite, key: str) -> list[str]:
    answer = httpx.get(f"{site.url()}/v1/services", headers={"api-key": key})
    return [one["name"] for one in answer.json()["services"]]


def test_a_key_opens_its_services_only(site: ServingSite) -> None:
    key, other = add(site, "mine"), add(site, "other", service="later")
    assert key.startswith("wl_")
    until(lambda: infer(site, key) == "200", "the key", ANSWERED_S)
    until(lambda: infer(site, other) == "403 forbidden", "the other key", ANSWERED_S)
    assert infer(site, "") == "401 unauthorized"
    assert infer(site, key[:-1]) == "401 unauthorized"
    assert services(site, key) == ["echo"]
    assert services(site, other) == []
    assert infer(site, other, "later") == "404 unknown_service"
    assert httpx.get(f"{site.url()}/v1/services").status_code == 401
    for free in ("/healthz", "/metrics"):
        assert httpx.get(site.url() + free).status_code == 200
    names = [one["name"] for one in json.loads(site.wattline("key", "ls", "--json"))]
    assert names == ["first", "mine", "other"]
    assert json.loads(site.wattline("key", "usage", "mine", "--json"))[0]["owner"] == "admin"


def test_a_revoked_and_an_expired_key_are_refused_within_a_second(site: ServingSite) -> None:
    key = add(site, "short")
    until(lambda: infer(site, key) == "200", "the key", ANSWERED_S)
    assert site.wattline("key", "revoke", "short").strip() == "API key short is revoked"
    assert refused_after_s(site, key) < WITHIN_S
    brief = add(site, "brief", "--expires", "3s")
    until(lambda: infer(site, brief) == "200", "the brief key", ANSWERED_S)
    until(lambda: infer(site, brief) == "401 unauthorized", "its end", ANSWERED_S)


def is_up(site: ServingSite) -> bool:
    try:
        return httpx.get(f"{site.url()}/healthz").status_code == 200
    except httpx.TransportError:
        return False


def usage(site: ServingSite, key: str) -> tuple[int, int]:
    (row,) = json.loads(site.wattline("key", "usage", key, "--json"))
    return row["requests"], row["refused"]


def test_a_rate_is_enforced_and_its_use_is_counted(site: ServingSite) -> None:
    key = add(site, "slow", "--rate", "6/m", "--burst", "6")  # of which each gateway has a half
    until(lambda: infer(site, key) == "200", "the key", ANSWERED_S)
    assert [infer(site, key) for _ in range(3)] == ["200", "200", "429 rate_limited"]
    answer = httpx.post(
        f"{site.url()}/v1/services/echo/infer", json={"input": 1}, headers={"api-key": key}
    )
    assert 1 <= int(answer.headers["retry-after"]) <= 10, "by the rate of the key"
    assert "6/m, burst 6 (rate of API key slow)" in answer.json()["error"]["message"]
    until(lambda: usage(site, "slow") == (5, 2), "the report of its use", 10.0)
    shown = site.wattline("key", "usage", "slow")
    assert shown.splitlines()[1].split()[:3] == ["slow", "5", "2"]


def test_two_gateways_grant_one_rate(site: ServingSite) -> None:
    """Also while the use moves from one to the other."""
    rate_per_s, burst, seconds = 20, 20, 5.0
    key = add(site, "both", "--rate", f"{rate_per_s}/s", "--burst", str(burst))
    until(lambda: infer(site, key, gateway="another") == "200", "the other gateway", 30.0)
    until(lambda: infer(site, key) == "200", "the first gateway", 30.0)
    time.sleep(2.5)  # both have reported: each grants a half

    def ask(gateway: str, until_s: float) -> tuple[int, int]:
        """How many were granted, of how many."""
        granted = asked = 0
        while time.monotonic() < until_s:
            granted += infer(site, key, gateway=gateway) == "200"
            asked += 1
        return granted, asked

    began_s = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(ask, ("gateway", "another"), [began_s + seconds] * 2))
    granted, asked = (sum(counts) for counts in zip(*both, strict=True))
    most = burst + rate_per_s * (time.monotonic() - began_s)
    assert granted <= most + 1.5 * rate_per_s, "the reports are a second behind"
    assert granted > min(most, asked) / 3, "a busy machine may request less than the rate"
    alone, asked = ask("another", time.monotonic() + seconds)
    assert alone > 0.6 * min(rate_per_s * seconds, asked), "the rate follows the use"


def test_a_key_that_is_abused_is_blocked_at_both_gateways_until_it_is_unblocked(
    site: ServingSite,
) -> None:
    key, other = add(site, "abused"), add(site, "beside")
    until(lambda: infer(site, key) == "200", "the key", ANSWERED_S)

    def spoil(_: int) -> str:
        url = f"{site.url()}/v1/services/echo/infer"
        answer = httpx.post(url, content=b"{", headers={"api-key": key}, timeout=20)
        return str(answer.json()["error"]["reason"])

    def is_blocked() -> bool:
        with ThreadPoolExecutor(8) as pool:
            return "blocked" in set(pool.map(spoil, range(120)))

    until(is_blocked, "the block", 60.0)
    until(
        lambda: infer(site, key, gateway="another") == "429 blocked",
        "the other gateway",
        ANSWERED_S,
    )
    assert infer(site, other) == "200", "from the same address"
    (row,) = json.loads(site.wattline("key", "usage", "abused", "--json"))
    assert row["state"] == "blocked"
    assert "failed" in row["abuse"]
    assert "api_key_blocked" in site.wattline("problems")
    assert site.wattline("key", "unblock", "abused").strip() == "API key abused is unblocked"
    for gateway in ("gateway", "another"):
        until(
            lambda one=gateway: infer(site, key, gateway=one) == "200",  # type: ignore[misc]
            "its end",
            ANSWERED_S,
        )
    assert "API key abused is unblocked" in site.wattline("events", "--acts")


def test_keys_hold_while_the_scheduler_is_away(site: ServingSite) -> None:
    key = add(site, "steady")
    until(lambda: infer(site, key) == "200", "the key", ANSWERED_S)
    site.stop("scheduler", signal.SIGKILL)
    assert infer(site, key) == "200"
    assert infer(site, "wl_wrong") == "401 unauthorized"
    site.start_scheduler()
    assert site.wattline("key", "revoke", "steady")
    until(lambda: infer(site, key) == "401 unauthorized", "the revocation", ANSWERED_S)


def test_requests_wait_for_the_keys_of_a_gateway_that_starts_before_the_scheduler(
    site: ServingSite,
) -> None:
    key = add(site, "early")
    until(lambda: infer(site, key) == "200", "the key", ANSWERED_S)
    site.stop("scheduler", signal.SIGKILL)
    site.stop("gateway", signal.SIGKILL)
    start_gateway(site)
    until(lambda: is_up(site), "the gateway")
    short = httpx.post(
        f"{site.url()}/v1/services/echo/infer",
        json={"input": 1},
        headers={"api-key": key, "timeout-ms": "200"},
    )
    assert short.json()["error"]["reason"] == "deadline"
    with ThreadPoolExecutor(2) as pool:
        right, wrong = (pool.submit(infer, site, sent) for sent in (key, "wl_wrong"))
        time.sleep(0.5)
        assert not right.done()
        site.start_scheduler()
        assert (right.result(), wrong.result()) == ("200", "401 unauthorized")


def test_rows_of_a_file_count_as_requests_of_their_key(site: ServingSite) -> None:
    key = add(site, "files")
    until(lambda: infer(site, key) == "200", "the key", ANSWERED_S)
    rows = b"".join(b'{"input": %d}\n' % n for n in range(300))
    command = [sys.executable, "-m", "wattline", "infer", "echo", "--url", site.url()]
    environment = {**os.environ, "WATTLINE_API_KEY": key}
    done = subprocess.run(command, input=rows, capture_output=True, env=environment, timeout=60)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["output"] for line in done.stdout.splitlines()] == [*range(300)]
    until(lambda: usage(site, "files")[0] >= 301, "the report of the rows", ANSWERED_S)


def test_no_key_is_written_anywhere(site: ServingSite) -> None:
    key = add(site, "marked")
    until(lambda: infer(site, key) == "200", "the key", ANSWERED_S)
    wrong = "wl_" + "planted-mark" * 3
    assert infer(site, wrong) == "401 unauthorized"
    site.wattline("events")
    time.sleep(0.5)
    shown = httpx.get(f"{site.url()}/metrics").text + site.wattline("events", "--acts")
    places = {path: path.read_bytes() for path in files(site.folder)}
    assert any(path.name.endswith(".log") for path in places)
    assert any(b"SQLite" in data[:16] for data in places.values())
    for secret in (key, wrong):
        assert secret not in shown
        assert [path for path, data in places.items() if secret.encode() in data] == []


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
