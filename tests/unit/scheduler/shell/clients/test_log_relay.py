"""Who may read what tasks write: jobs that run, and jobs that are on disk only."""

from pathlib import Path

import msgspec
import pytest

from support.core import records
from support.core.harness import Harness, joined
from support.core.sites import job, site
from support.store.stores import everything, opened
from wattline_protocol.ids import Instant, JobId, UserName
from wattline_protocol.site.model import LogReaders, Role
from wattline_protocol.wire.agent_messages import ReadLog
from wattline_protocol.wire.client_messages import Denied, FetchLog
from wattline_scheduler.core.model.effects import Reply, Send
from wattline_scheduler.core.requests.selection import Asker
from wattline_scheduler.shell.clients.log_relay import MAX_OUTSTANDING_OF_USER, LogRelay

ASKERS: tuple[tuple[UserName, Role], ...] = (
    (UserName("ada"), "submitter"),
    (UserName("ops"), "operator"),
    (UserName("bob"), "submitter"),
)


def started(logs: LogReaders) -> Harness:
    return joined(msgspec.structs.replace(site().rack("a", 1).build(), logs=logs))


def answers(relay: LogRelay, number: JobId) -> list[str]:
    """What becomes of the request of each asker."""
    found = []
    for user, role in ASKERS:
        effect = relay.fetch(b"c", 1, Asker(user, role), FetchLog(number), Instant(0.0))
        if isinstance(effect, Send):
            found.append("asked for")
        else:
            assert isinstance(effect, Reply)
            assert isinstance(effect.answer, Denied)
            found.append(effect.answer.kind)
    return found


@pytest.mark.parametrize(("logs", "bobs"), [("owner", "not_allowed"), ("everyone", "asked for")])
def test_a_log_is_for_the_owner_and_operators_unless_it_is_for_all(
    logs: LogReaders, bobs: str, tmp_path: Path
) -> None:
    h = started(logs)
    number = h.submit(job().gpus(1))
    h.run(2)
    store = opened(tmp_path)
    assert answers(LogRelay(h.cluster.state, store), number) == ["asked for", "asked for", bobs]
    store.close()


def test_reads_of_one_user_leave_place_for_those_of_others(tmp_path: Path) -> None:
    h = started("owner")
    number = h.submit(job().gpus(1))
    h.run(2)
    store = opened(tmp_path)
    relay, ada = LogRelay(h.cluster.state, store), Asker(UserName("ada"), "submitter")
    for ask in range(MAX_OUTSTANDING_OF_USER):
        assert isinstance(relay.fetch(b"c", ask, ada, FetchLog(number), Instant(0.0)), Send)
    assert answers(relay, number) == ["busy", "asked for", "not_allowed"]
    store.close()


@pytest.mark.parametrize(
    ("how", "rank", "read"),
    [("torchrun", 5, (1, 1)), ("process", 1, (1, None)), ("process", 2, None)],
)
def test_a_rank_is_read_on_its_node(
    how: str, rank: int, read: tuple[int, int | None] | None, tmp_path: Path
) -> None:
    """Two nodes with four GPUs each: with torchrun eight ranks, else two."""
    h = joined(site().rack("a", 2).build())
    asked = job().gpus(4).nodes(2)
    number = h.submit(asked.torchrun() if how == "torchrun" else asked)
    h.run(2)
    store = opened(tmp_path)
    fetch = FetchLog(number, rank=rank)
    effect = LogRelay(h.cluster.state, store).fetch(
        b"c", 1, Asker(UserName("ada"), "submitter"), fetch, Instant(0.0)
    )
    store.close()
    if read is None:
        assert isinstance(effect, Reply)
        assert isinstance(effect.answer, Denied)
        assert "has ranks 0 to 1 (2 nodes with 1 rank each)" in effect.answer.reason
    else:
        assert isinstance(effect, Send)
        assert isinstance(effect.message, ReadLog)
        assert (effect.message.ref.task, effect.message.local_rank) == read


def test_a_job_on_disk_is_as_private_as_one_that_runs(tmp_path: Path) -> None:
    h = started("owner")
    store = opened(tmp_path)
    store.commit(everything())
    assert records.job(1).owner == "ada"
    # Its node is not of this site, so no user can read it; others are not shown its node either.
    assert answers(LogRelay(h.cluster.state, store), JobId(1)) == [
        "unavailable",
        "unavailable",
        "not_allowed",
    ]
    store.close()
