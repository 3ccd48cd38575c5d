"""Jobs whose checkpoints are kept in the store: what nodes copy, and where a job resumes."""

import msgspec
import pytest

from support.core.harness import Harness, joined, running
from support.core.node_data import add, reads
from support.core.parts import explain_job
from support.core.sites import JobBuilder, job, site
from wattline_protocol.data.secrets import SecretName, SecretNames
from wattline_protocol.data.site_data import SiteData
from wattline_protocol.ids import JobId, NodeId
from wattline_protocol.job.selection import only
from wattline_protocol.job.spec import DataSpec
from wattline_protocol.notify.site_notify import SiteNotify
from wattline_protocol.wire.agent_messages import StartTask
from wattline_protocol.wire.agents.data_messages import (
    CheckpointsStored,
    CheckpointsToStore,
    DataHeld,
    DataReport,
    DataState,
    DataToHold,
    HoldData,
)
from wattline_protocol.wire.client_messages import Cancel, Drain, Release, Requeue, Undrain
from wattline_protocol.wire.task_order import TaskOrder
from wattline_protocol.wire.task_reports.checkpoints import SavedCheckpoint, StoredCheckpoint
from wattline_scheduler.core.lifecycle.data import copy_turns, data_groups
from wattline_scheduler.core.model.jobs import job_index
from wattline_scheduler.notification_record import NotificationRecord

STORE = "s3://bucket/site"
KEPT = DataSpec(outputs=("checkpoints/",), store_secret="store")


def sited(nodes: int = 2, **changes: object) -> Harness:
    """Nodes a1, a2, … with caches and the secret of ada."""
    bare = site().rack("a", nodes).build()
    h = joined(msgspec.structs.replace(bare, data=SiteData(STORE), **changes))
    for number in range(nodes):
        begin(h, f"a{number + 1}")
    return h


def begin(h: Harness, node: str) -> None:
    """What an agent says first."""
    agent = h.agent(node)
    h.say(node, SecretNames(agent.epoch, agent.incarnation, (SecretName("ada", "store"),)))
    report(h, node)


@pytest.fixture
def h() -> Harness:
    return sited()


def kept(gpus: int = 1, nodes: int = 1) -> JobBuilder:
    spec = job().gpus(gpus).nodes(nodes).build()
    return JobBuilder(msgspec.structs.replace(spec, data=KEPT))


def report(
    h: Harness, node: str, *held: DataHeld, stored: tuple[CheckpointsStored, ...] = ()
) -> None:
    agent = h.agent(node)
    h.say(node, DataReport(agent.epoch, agent.incarnation, held, 10_000, 0, "", stored))
    h.settle()


def lists(h: Harness, node: str) -> HoldData:
    return [m for m in h.sent_to(node, HoldData) if isinstance(m, HoldData)][-1]


def to_copy(h: Harness, node: str) -> CheckpointsToStore:
    (one,) = lists(h, node).to_store
    return one


def to_fetch(h: Harness, node: str) -> DataToHold:
    (one,) = lists(h, node).versions
    return one


def save(h: Harness, number: JobId, node: str, step: int) -> None:
    (attempt,) = h.gang(number).live
    saved = SavedCheckpoint(step=step, bytes=9, save_s=0.1, unix_s=h.now.unix_s)
    h.agent(node).tasks[attempt.record.ref].checkpoint = saved
    h.run(12)


def store(h: Harness, node: str, step: int, **changes: object) -> StoredCheckpoint:
    """The node has carried out its newest order."""
    order = to_copy(h, node)
    newest = StoredCheckpoint(
        *(order.attempt, step, order.attempt, step, f"{step:064x}", 500, h.now.unix_s)
    )
    copied = CheckpointsStored(
        *(order.job, order.attempt, newest, 0, "", order.saved_unix_s, order.is_last)
    )
    report(h, node, stored=(msgspec.structs.replace(copied, **changes),))
    return newest


def orders(h: Harness, node: str) -> list[TaskOrder]:
    return [start.order for start in h.sent_to(node, StartTask) if isinstance(start, StartTask)]


def requeue(h: Harness, number: JobId) -> None:
    h.do(Requeue(only(number), "t"))
    h.end_tasks()
    h.run(2)


def test_its_node_copies_what_it_has_reported_and_what_is_stored_is_on_record(h: Harness) -> None:
    number = h.submit(kept())
    h.run(2)
    save(h, number, "a1", 10)
    order = to_copy(h, "a1")
    assert (order.store, order.prefix, order.user, order.secret) == (
        STORE,
        f"checkpoints/ada/{number}",
        "ada",
        "store",
    )
    assert not order.is_last
    assert order.recorded is None
    stored = store(h, "a1", 10)
    h.run(2)
    assert h.gang(number).stored == stored
    assert to_copy(h, "a1").recorded == stored
    assert h.gang(number).live[0].record.has_task_lease, "it may go on elsewhere from now on"
    h.restart_scheduler()
    assert h.gang(number).stored == stored


def test_a_lost_node_leaves_its_job_to_another_that_fetches_the_checkpoint(h: Harness) -> None:
    number = h.submit(kept())
    h.run(2)
    save(h, number, "a1", 10)
    stored = store(h, "a1", 10)
    h.run(2)
    h.cut_off.add(NodeId("a1"))
    h.run(h.site.timing.task_lease_s + 10)
    wanted = to_fetch(h, "a2")
    assert (wanted.manifest_sha256, wanted.store) == (
        stored.sha256,
        f"{STORE}/checkpoints/ada/{number}/{stored.stored_by}",
    )
    assert (wanted.user, wanted.secret) == ("ada", "store")
    reason = f"fetching checkpoint 10 of job {number}: 0 % on a2"
    assert h.job(number).unstaged == reason
    assert not running(h, number)
    ready = DataHeld(stored.sha256, "ready", 0, 500, "", wanted.asked, wanted.listing)
    report(h, "a2", ready)
    h.run(2)
    (order,) = orders(h, "a2")
    assert [(one.manifest_sha256, one.is_checkpoint) for one in order.data] == [
        (stored.sha256, True)
    ]
    assert to_copy(h, "a2").recorded == stored
    assert to_copy(h, "a2").attempt == order.ref.attempt


def lost(h: Harness, wanted: JobBuilder | None = None) -> tuple[JobId, StoredCheckpoint]:
    """A job whose node is lost; its checkpoint is in the store."""
    number = h.submit(wanted or kept())
    h.run(2)
    save(h, number, "a1", 10)
    stored = store(h, "a1", 10)
    h.run(2)
    h.cut_off.add(NodeId("a1"))
    h.run(h.site.timing.task_lease_s + 10)
    return number, stored


def fetched(h: Harness, stored: StoredCheckpoint, state: DataState, detail: str = "") -> None:
    """What a2 says of its copy."""
    wanted = to_fetch(h, "a2")
    about = (stored.sha256, state, 0, 500, detail, wanted.asked, wanted.listing)
    report(h, "a2", DataHeld(*about))


def reason(h: Harness, number: JobId) -> str:
    return explain_job(h.cluster.state, h.job(number), h.now).reason


GONE = (
    "held: checkpoint 10 of job 1 cannot be read on a2: its store no longer has it; `wattline "
    "requeue --from-scratch 1` starts it without, `wattline release` reads it again"
)


def test_a_checkpoint_that_is_gone_holds_its_job_and_a_release_reads_it_again(h: Harness) -> None:
    number, stored = lost(h)
    fetched(h, stored, "failed", "its store no longer has it")
    h.run(2)
    assert (h.state_of(number), reason(h, number)) == ("HELD", GONE)
    assert not lists(h, "a2").versions
    h.restart_scheduler()
    h.join("a2")
    begin(h, "a2")
    h.run(2)
    assert (h.state_of(number), reason(h, number)) == ("HELD", GONE)
    h.do(Release(only(number)))
    h.run(h.site.timing.task_lease_s + 10)
    assert h.state_of(number) == "PENDING"
    fetched(h, stored, "ready")
    h.run(2)
    assert len(orders(h, "a2")[-1].data) == 1


def test_the_user_is_notified_of_a_hold_for_a_checkpoint_that_is_gone() -> None:
    h = sited(notify=SiteNotify(("example.org",), "relay:25", "wattline@example.org"))
    number, stored = lost(h, kept().notify("ada@example.org", "hold"))
    fetched(h, stored, "failed", "its store no longer has it")
    h.run(30)
    (sent,) = h.disk.of(NotificationRecord)
    assert (sent.job, sent.on, sent.reason) == (number, "hold", GONE)


@pytest.mark.parametrize("how", ["held", "waiting", "bound"])
def test_a_job_starts_from_scratch_without_the_checkpoint_that_it_waits_for(
    h: Harness, how: str
) -> None:
    if how == "bound":
        number = h.submit(kept())
        h.run(2)
        save(h, number, "a1", 10)
        h.do(Drain(NodeId("a1")))
        requeue(h, number)
    else:
        number, stored = lost(h)
        is_gone = how == "held"
        text = "its store no longer has it" if is_gone else "its store refuses to be read: no key"
        fetched(h, stored, "failed" if is_gone else "waiting", text)
        h.run(120)
        assert h.state_of(number) == ("HELD" if is_gone else "PENDING")
        assert f"requeue --from-scratch {number}" in reason(h, number)
    assert not orders(h, "a2")
    h.do(Requeue(only(number), "scratch", from_scratch=True))
    h.run(3)
    (order,) = orders(h, "a2")
    assert (order.data, order.from_scratch) == ((), True)
    h.restart_scheduler()
    assert not h.gang(number).is_held


def test_a_job_whose_home_is_there_is_not_held_for_its_copy(h: Harness) -> None:
    number = h.submit(kept())
    h.run(2)
    save(h, number, "a1", 10)
    stored = store(h, "a1", 10)
    h.do(Drain(NodeId("a1")))
    requeue(h, number)
    report(h, "a1", stored=(CheckpointsStored(number, stored.stored_by, stored, is_last=True),))
    fetched(h, stored, "failed", "its store no longer has it")
    h.run(2)
    assert h.state_of(number) == "PENDING"
    h.do(Undrain(NodeId("a1")))
    h.run(3)
    assert len(orders(h, "a1")) == 2


def test_a_node_with_checkpoints_that_are_not_stored_keeps_its_job(h: Harness) -> None:
    number = h.submit(kept())
    h.run(2)
    save(h, number, "a1", 10)
    h.do(Drain(NodeId("a1")))
    requeue(h, number)
    away = CheckpointsStored(number, h.gang(number).past[-1].record.attempt, detail="no route")
    report(h, "a1", stored=(away,))
    assert h.job(number).unstaged == (
        "a1 has checkpoints of it that are not in the store yet: no route "
        f"(wattline requeue --from-scratch {number} gives them up)"
    )
    assert explain_job(h.cluster.state, h.job(number), h.now).reason == h.job(number).unstaged
    stored = store(h, "a1", 10)
    assert to_fetch(h, "a2").manifest_sha256 == stored.sha256
    assert not lists(h, "a1").versions


def test_its_home_starts_it_without_a_copy_while_the_store_is_away(h: Harness) -> None:
    number = h.submit(kept())
    h.run(2)
    save(h, number, "a1", 10)
    requeue(h, number)
    h.run(2)
    first, second = orders(h, "a1")
    assert first.ref != second.ref
    assert second.data == ()
    assert not orders(h, "a2")


def test_what_an_ended_job_has_left_is_copied_to_the_end(h: Harness) -> None:
    number = h.submit(kept())
    h.run(2)
    save(h, number, "a1", 10)
    h.end_tasks()
    h.run(2)
    assert h.state_of(number) == "COMPLETED"
    assert to_copy(h, "a1").is_last
    h.restart_scheduler()
    h.run(2)
    report(h, "a1")
    assert to_copy(h, "a1").is_last
    stored = store(h, "a1", 10)
    h.run(2)
    assert lists(h, "a1").to_store == ()
    assert h.gang(number).stored == stored


def test_copies_that_never_end_keep_no_turn_from_other_users_and_jobs(
    h: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copy_turns, "MAX_COPIES", 4)
    monkeypatch.setattr(copy_turns, "MAX_COPIES_OF_USER", 3)
    monkeypatch.setattr(copy_turns, "TURN_S", 20.0)
    agent = h.agent("a1")
    names = tuple(SecretName(user, "store") for user in ("ada", "bob"))
    h.say("a1", SecretNames(agent.epoch, agent.incarnation, names))

    def run(user: str) -> JobId:
        number = h.submit(kept(), user=user)
        h.run(2)
        ((node, _),) = running(h, number)
        save(h, number, str(node), 10)
        return number

    def ended(user: str) -> JobId:
        number = run(user)
        h.end_tasks()
        return number

    def copied() -> list[int]:
        return [one.job for one in lists(h, "a1").to_store]

    h.do(Drain(NodeId("a2")))
    in_vain = [ended("ada") for _ in range(5)]
    h.run(2)
    seen = set(copied())
    assert len(seen) == 3
    of_bob, of_ada = ended("bob"), run("ada")
    h.run(2)
    assert {of_bob, of_ada} <= set(copied())
    assert len(copied()) == 4
    for _ in range(3):
        h.run(copy_turns.TURN_S)
        seen |= set(copied())
    assert seen == {*in_vain, of_bob, of_ada}


def test_another_node_records_nothing_and_no_older_copy_replaces_a_newer_one(h: Harness) -> None:
    number = h.submit(kept())
    h.run(2)
    save(h, number, "a1", 10)
    stored = store(h, "a1", 10)
    liar = msgspec.structs.replace(stored, number=99, sha256="f" * 64)
    report(h, "a2", stored=(CheckpointsStored(number, stored.stored_by, liar),))
    assert h.gang(number).stored == stored
    older = msgspec.structs.replace(stored, number=9)
    report(h, "a1", stored=(CheckpointsStored(number, stored.stored_by, older),))
    assert h.gang(number).stored == stored


@pytest.mark.parametrize(
    ("changes", "nodes", "text"),
    [
        ({"data": SiteData("/srv")}, 1, 's3://…" in the site file, which has /srv'),
        ({}, 2, "it needs checkpoint_root in the site file"),
    ],
    ids=["local", "gang"],
)
def test_what_this_site_cannot_keep_is_refused(
    changes: dict[str, object], nodes: int, text: str
) -> None:
    h = sited()
    h.cluster.state.site = msgspec.structs.replace(h.cluster.state.site, **changes)
    assert text in h.refuse(kept(nodes=nodes))


def test_a_job_that_staging_never_examined_may_leave_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those before it read as many versions as one run examines; a plan looked at it once it had
    ended, and many others after it."""
    monkeypatch.setattr(data_groups, "MAX_EXAMINED", 1)
    monkeypatch.setattr(job_index, "MAX_ENDED_JOBS", 1)
    h = sited(nodes=1)
    add(h, 7, store=STORE)
    h.submit(reads("digits@v1").held())
    both = msgspec.structs.replace(KEPT, datasets=("digits@v1",))
    spec = msgspec.structs.replace(job().gpus(1).build(), data=both, hold=True)
    for number in (h.submit(JobBuilder(spec)), h.submit(job().held()), h.submit(job().held())):
        h.do(Cancel(only(number)))
    h.run(2)
    last = h.submit(job().gpus(1))
    assert h.state_of(last) == "RUNNING"
    assert [one.spec.data.outputs for one in h.cluster.state.work.with_data.values()] == [()]
