"""Jobs with a strict check of their data: a version that broke a rule fails them before GPUs."""

import msgspec
import pytest

from support.core.harness import Harness, joined
from support.core.sites import JobBuilder, job, site
from wattline_protocol.data.checks import DataCheck, Finding
from wattline_protocol.data.requests import AddData, ApproveData, DataAdded, PrepareData
from wattline_protocol.data.site_data import SiteData
from wattline_protocol.ids import JobId, UserName
from wattline_protocol.job.spec import DataCheckMode, DataSpec
from wattline_protocol.wire.agent_messages import StartTask
from wattline_protocol.wire.client_messages import Done
from wattline_scheduler.core.requests.selection import Asker
from wattline_scheduler.views.data.data_sets_view import answer_data

DRIFT = Finding("age", "psi", 0.61, 0.25), Finding("city", "type", "missing", "text")
BROKEN = DataCheck(1, ok=False, findings=DRIFT, more=3)


@pytest.fixture
def h() -> Harness:
    data = SiteData(store="/srv/data")
    return joined(msgspec.structs.replace(site().rack("a", 1).build(), data=data))


def add(h: Harness, verdict: DataCheck | None) -> str:
    """The reference of a new version."""
    place = answer_data(h.cluster.state, Asker(UserName("ada"), "submitter"), PrepareData("people"))
    digest = f"{len(h.cluster.state.data.versions.get('people', ())):064x}"
    request = AddData("people", "dataset", place.store, place.as_of, digest, 1, 1024, 1024)  # type: ignore[union-attr]
    added = h.ask(msgspec.structs.replace(request, verdict=verdict), user="ada")
    assert isinstance(added, DataAdded), added
    return f"people@v{added.number}"


def submit(h: Harness, reference: str, check: DataCheckMode = "strict") -> JobId:
    spec = msgspec.structs.replace(job().gpus(1).build(), data=DataSpec((reference,), check))
    number = h.submit(JobBuilder(spec))
    h.run(3)
    return number


def ended(h: Harness, number: JobId) -> tuple[str, str]:
    return h.state_of(number), h.job(number).gangs[0].reason


def test_a_version_that_broke_a_rule_fails_the_job_with_its_columns(h: Harness) -> None:
    add(h, DataCheck(0, ok=True))
    state, reason = ended(h, submit(h, add(h, BROKEN)))
    assert state == "FAILED"
    assert reason == (
        "people@v2 breaks rules against people@v1: age: psi 0.61 (limit 0.25); "
        "city: type missing, was text; and 3 broken rules more"
    )
    assert not [1 for _, said in h.sent if isinstance(said, StartTask)]


def test_what_passes(h: Harness) -> None:
    """The first version, one without broken rules, one that was approved; and every version where
    the job does not ask."""
    good = [add(h, DataCheck(0, ok=True)), add(h, DataCheck(1, ok=True))]
    drifted = add(h, BROKEN)
    assert [ended(h, submit(h, one))[0] for one in good] == ["PENDING"] * 2
    assert ended(h, submit(h, drifted, ""))[0] == "PENDING"
    assert isinstance(h.ask(ApproveData(drifted, "stable"), user="ada"), Done)
    assert ended(h, submit(h, "people@stable"))[0] == "PENDING"


def test_a_verdict_that_no_client_makes_is_refused(h: Harness) -> None:
    add(h, DataCheck(0, ok=True))
    long = DataCheck(1, ok=False, findings=(Finding("x" * 256, "psi", "y" * 256, "z"),) * 32)
    for verdict, why in ((long, "at most 2048"), (DataCheck(7, ok=True), "people@v7, which does")):
        with pytest.raises(AssertionError, match=why):
            add(h, verdict)


def test_a_version_without_a_verdict_is_no_pass(h: Harness) -> None:
    state, reason = ended(h, submit(h, add(h, None)))
    assert (state, reason) == (
        "FAILED",
        "people@v1 was added without a check of its columns; approve it, if it is right",
    )
