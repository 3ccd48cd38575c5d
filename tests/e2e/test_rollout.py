"""A service of two replicas goes to its next revision, or back, while clients send 40 requests a
second with a deadline of 2 s: none of them fails."""

import json
import signal
import sys
from collections.abc import Callable, Iterator

import pytest

from support.programs.serving_site import ECHO, ServingSite, SteadyLoad, steady_load
from wattline_protocol.wire.rollouts import RolloutView

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240), pytest.mark.xdist_group("serving")]

MODELS = """
class Breaks:
    def load(self, args):
        raise ValueError("no weights at /models/none")

    def predict(self, batch):
        return batch


class Fails:
    def load(self, args):
        pass

    def predict(self, batch):
        raise RuntimeError("shapes do not match")


class Doubles:
    def load(self, args):
        pass

    def predict(self, batch):
        return [value * 2 if isinstance(value, int) and value % 2 else value for value in batch]

    def compare(self, old, new):
        return new == 2 * old
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingSite]:
    """One node, one gateway."""
    folder = tmp_path_factory.mktemp("rollout")
    (folder / "models.py").write_text(MODELS)
    with ServingSite(folder) as made:
        made.start_node("n1", gpus=4)
        made.start_gateway("gateway")
        yield made


@pytest.fixture
def old(site: ServingSite) -> Iterator[int]:
    """The service's first revision, with both replicas ready."""
    job = int(site.serve("--replicas", "2"))
    site.until(lambda: list(site.workers().values()) == ["ready"] * 2, "two workers are ready")
    yield job
    for one in site.client.jobs(ended=False):
        site.wattline("cancel", str(one.id))
    site.until(lambda: not site.client.jobs(ended=False), "its jobs have ended")
    site.until(lambda: not site.workers(), "the gateway knows no worker")


def revision(site: ServingSite, model: str = "") -> str:
    """A job file of the service's next revision."""
    words = ECHO if not model else (*ECHO[:-1], f"models:{model}")
    command = json.dumps([sys.executable, *words])
    file = site.folder / "next.toml"
    file.write_text(
        f'name = "echo"\nkind = "service"\ncommand = {command}\n'
        "[resources]\ngpus_per_node = 1\n[service]\nreplicas = 2\n"
        f'[recovery]\ngrace = "2s"\n[env]\nPYTHONPATH = "{site.folder}"\n'
    )
    return str(file)


def roll(site: ServingSite, *words: str) -> RolloutView:
    """The rollout after `wattline rollout echo …`."""
    site.wattline("rollout", "echo", *words)
    return site.client.rollout("echo")


def phase(site: ServingSite, *wanted: str) -> Callable[[], bool]:
    return lambda: site.client.rollout("echo").phase in wanted


def all_answered(load: SteadyLoad) -> None:
    assert load.outcomes.keys() == {"ok"}, load.outcomes
    assert load.slowest_s < 2.0


def test_a_new_revision_replaces_the_old_one(site: ServingSite, old: int) -> None:
    with steady_load(site.url(), deadline_ms=2_000) as load:
        view = roll(site, revision(site))
        assert (view.old.job, view.phase) == (old, "starting")
        site.until(phase(site, "done"), "the old one has ended")
    all_answered(load)
    assert site.client.job(old).state == "COMPLETED"
    assert site.client.job(view.new.job).state == "RUNNING"
    assert [task.split(".")[0] for task in site.workers()] == [str(view.new.job)] * 2
    shown = json.loads(site.wattline("rollout", "echo", "status", "--json"))
    assert (shown["phase"], shown["new"]["ready"]) == ("done", 2)


@pytest.mark.parametrize(
    ("model", "why"), [("Breaks", "it does not run: "), ("Fails", "requests failed")]
)
def test_a_revision_that_does_not_work_goes_back(
    site: ServingSite, old: int, model: str, why: str
) -> None:
    with steady_load(site.url(), deadline_ms=2_000) as load:
        new = roll(site, revision(site, model)).new.job
        site.until(phase(site, "back"), "it went back")
    all_answered(load)
    assert why in site.client.rollout("echo").text
    site.until(lambda: site.client.job(new).state == "FAILED", "its job has ended")
    assert why in site.client.job(new).reason
    assert site.client.job(old).state == "RUNNING"
    assert list(site.workers().values()) == ["ready"] * 2


def test_copies_of_requests_show_what_a_revision_would_answer(site: ServingSite, old: int) -> None:
    copies = ("--shadow", "35%", "--compare", "model")
    with steady_load(site.url(), deadline_ms=2_000) as load:
        new = roll(site, revision(site, "Doubles"), *copies).new.job
        site.until(phase(site, "waiting"), "it waits")
        view = site.client.rollout("echo")
        roll(site, "back")
    all_answered(load)
    assert view.equal > max(20, view.uncompared), "as its model compares them"
    assert view.different == 0
    assert "answers equal" in site.wattline("rollout", "echo", "status")
    site.until(lambda: site.client.job(new).state == "CANCELLED", "its job has ended")
    new = roll(site, revision(site), *copies).new.job
    site.until(phase(site, "back"), "Echo has no method for that")
    assert "no method compare(old, new)" in site.wattline("rollout", "echo", "status")
    site.until(lambda: site.client.job(new).state == "FAILED", "its job has ended")
    assert site.client.job(old).state == "RUNNING"


def test_a_canary_is_promoted_while_the_scheduler_is_killed(site: ServingSite, old: int) -> None:
    with steady_load(site.url(), deadline_ms=2_000) as load:
        roll(site, revision(site), "--canary", "20%")
        site.until(phase(site, "waiting"), "it waits")
        roll(site, "promote")
        site.stop("scheduler", signal.SIGKILL)
        site.start_scheduler()
        site.until(phase(site, "done"), "the old one has ended")
    all_answered(load)
    assert site.client.job(old).state == "COMPLETED"
