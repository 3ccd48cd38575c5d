"""Terminals between clients and nodes: who may attach, what is on record, and what is bounded."""

import msgspec
import pytest

from support.core.harness import Harness, joined
from support.core.sites import JobBuilder, job, site
from wattline_protocol.ids import AttemptNo, Instant, JobId, NodeId, Now, UnixTime, UserName
from wattline_protocol.job.spec import Launch
from wattline_protocol.wire.client_messages import Answer, Denied, Done
from wattline_protocol.wire.task_reports.terminals import (
    MAX_OUTPUT_BYTES,
    Attach,
    Attached,
    CloseTerminal,
    Detach,
    OpenTerminal,
    ReadTerminal,
    TerminalDone,
    TerminalOrder,
    TerminalOutput,
    TerminalRequest,
    TerminalTaken,
    WriteTerminal,
)
from wattline_scheduler.core.model.effects import Effect, Reply, Send
from wattline_scheduler.core.model.jobs.job import Paused
from wattline_scheduler.core.requests.selection import Asker
from wattline_scheduler.records import ActRecord
from wattline_scheduler.shell.clients.terminal_relay import (
    ALL_BYTES_PER_S,
    ANSWER_WITHIN_S,
    ATTACHES_AT_ONCE,
    LOST_AFTER_S,
    MAX_OF_USER,
    MAX_SAID_CHARS,
    OVER_AFTER_S,
    PIECES_PER_S,
    REPLACED_AFTER_S,
    TerminalRelay,
)

ADA = Asker(UserName("ada"), "submitter")
EVE = Asker(UserName("eve"), "submitter")
OPS = Asker(UserName("ops"), "operator")


def on_terminal(gpus: int = 1) -> JobBuilder:
    return JobBuilder(msgspec.structs.replace(job().gpus(gpus).build(), launch=Launch(pty=True)))


class Rig:
    """A site with jobs of ada on terminals."""

    def __init__(self, jobs: int = 1, **of_site: str) -> None:
        made = msgspec.structs.replace(site().rack("a", 2).build(), **of_site)
        self.site: Harness = joined(made)
        for agent in self.site.agents.values():
            agent.launchers = ("terminal",)
            agent.say_hello()
        self.site.run(2)
        self.jobs = [self.site.submit(on_terminal()) for _ in range(jobs)]
        self.site.run(3)
        self.relay = TerminalRelay(self.site.cluster.state)
        self.now = Instant(100.0)

    def handle(self, event: object) -> list[Effect]:
        at = Now(self.now, UnixTime(1_700_000_000.0))
        return self.site.cluster.handle(event, at)  # type: ignore[arg-type]

    def ask(self, request: TerminalRequest, by: Asker = ADA, ask: int = 1) -> list[Effect]:
        return self.relay.answer(b"c", ask, by, request, self.now, self.handle)

    def node(self, job: JobId) -> NodeId:
        return self.site.job(job).gangs[0].live[0].node

    def done(self, job: JobId, number: int, answer: object, error: str = "") -> list[Effect]:
        done = TerminalDone(number, answer, error)  # type: ignore[arg-type]
        return self.relay.take(self.node(job), done, self.handle)

    def attach(self, job: JobId, token: str = "a", by: Asker = ADA) -> list[Effect]:
        effects = self.ask(Attach(job, token), by)
        record = self.site.job(job).gangs[0].live[0].record
        return [*effects, *self.done(job, number_of(effects), Attached(record.ref, 0, 0))]


def orders(effects: list[Effect]) -> list[TerminalOrder]:
    sent = [effect.message for effect in effects if isinstance(effect, Send)]
    return [message for message in sent if isinstance(message, TerminalOrder)]


def number_of(effects: list[Effect]) -> int:
    return orders(effects)[-1].request


def answers(effects: list[Effect]) -> list[Answer]:
    return [effect.answer for effect in effects if isinstance(effect, Reply)]


def acts(effects: list[Effect]) -> list[str]:
    records = [getattr(effect, "record", None) for effect in effects]
    return [one.event.text for one in records if isinstance(one, ActRecord)]


def test_an_owner_attaches_reads_writes_and_detaches_on_record() -> None:
    rig = Rig()
    (number,) = rig.jobs
    effects = rig.attach(number)
    assert isinstance(orders(effects)[0].act, OpenTerminal)
    assert acts(effects) == [f"attached to the terminal of job {number} of user ada"]
    assert isinstance(effects[-1], Reply), "it is on record before its client has the answer"

    read = rig.ask(ReadTerminal("a", 0))
    assert rig.relay.take(NodeId("a9"), TerminalDone(number_of(read)), rig.handle) == []
    (shown,) = answers(rig.done(number, number_of(read), TerminalOutput(b"$ ", 0)))
    assert shown == TerminalOutput(b"$ ", 0)
    write = rig.ask(WriteTerminal("a", 0, b"ls\n"))
    assert answers(rig.done(number, number_of(write), TerminalTaken(3))) == [TerminalTaken(3)]

    ended = rig.ask(Detach("a"))
    assert [type(one.act) for one in orders(ended)] == [CloseTerminal]
    assert acts(ended) == [f"detached from the terminal of job {number} of user ada: detached"]
    assert isinstance(answers(ended)[-1], Done)
    (after,) = answers(rig.ask(ReadTerminal("a", 2)))
    assert isinstance(after, Denied)
    assert after.kind == "conflict"


@pytest.mark.parametrize("by", [EVE, OPS])
def test_others_are_refused_on_record_and_read_nothing_of_an_attachment(by: Asker) -> None:
    rig = Rig()
    (number,) = rig.jobs
    refused = rig.ask(Attach(number, "e"), by)
    (denied,) = answers(refused)
    assert isinstance(denied, Denied)
    assert denied.kind == "not_allowed"
    assert orders(refused) == []
    assert f"may not attach to the terminal of job {number}" in acts(refused)[0]
    rig.attach(number)
    for request in (ReadTerminal("a", 0), WriteTerminal("a", 0, b"rm\n"), Detach("a")):
        stolen = rig.ask(request, by)
        assert orders(stolen) == [], "the token of another user opens nothing"
    (denied,) = answers(rig.ask(Attach(number, "a"), by))
    assert isinstance(denied, Denied)


def test_operators_attach_where_the_site_file_says_so_and_take_over() -> None:
    rig = Rig(terminals="operators")
    (number,) = rig.jobs
    rig.attach(number)
    waiting = rig.ask(ReadTerminal("a", 0))
    assert orders(waiting)
    taken = rig.attach(number, "o", OPS)
    why = "ops has attached to this terminal"
    assert answers(taken)[0] == TerminalOutput(b"", 0, "detached", why)
    assert acts(taken) == [
        f"detached from the terminal of job {number} of user ada: {why}",
        f"attached to the terminal of job {number} of user ada",
    ]
    assert [type(one.act) for one in orders(taken)] == [CloseTerminal, OpenTerminal]
    assert answers(rig.ask(ReadTerminal("a", 7))) == [TerminalOutput(b"", 7, "detached", why)]
    (again,) = answers(rig.ask(Attach(number, "a", is_again=True)))
    assert isinstance(again, Denied)
    assert again.kind == "not_allowed", "a client that comes back takes nothing over"


def test_a_client_that_takes_its_terminal_back_is_on_record_again() -> None:
    rig = Rig(terminals="operators")
    (number,) = rig.jobs
    rig.attach(number)
    rig.attach(number, "o", OPS)
    back = rig.attach(number)
    what = f"terminal of job {number} of user ada"
    assert acts(back) == [
        f"detached from the {what}: ada has attached to this terminal",
        f"attached to the {what}",
    ]
    assert orders(rig.ask(WriteTerminal("a", 0, b"x")))


def test_what_an_agent_does_not_answer_is_answered_and_lost_clients_are_detached() -> None:
    rig = Rig()
    (number,) = rig.jobs
    rig.attach(number)
    rig.ask(WriteTerminal("a", 0, b"x"))
    rig.site.job(number).gangs[0].phase = Paused(rig.now)
    rig.now = Instant(rig.now + ANSWER_WITHIN_S + 1)
    (late,) = answers(rig.relay.expire(rig.now, rig.handle))
    assert late == Denied(
        "unavailable", f"job {number} is paused: its input is held until it resumes"
    )
    rig.now = Instant(rig.now + LOST_AFTER_S)
    lost = rig.relay.expire(rig.now, rig.handle)
    assert acts(lost)[0].endswith("its client is lost")
    assert [type(one.act) for one in orders(lost)] == [CloseTerminal]


def test_nothing_is_read_or_typed_before_the_attachment_is_on_record() -> None:
    rig = Rig(terminals="operators")
    (number,) = rig.jobs
    begun = rig.ask(Attach(number, "o"), OPS)
    for request in (ReadTerminal("o", 0), WriteTerminal("o", 0, b"rm\n")):
        early = rig.ask(request, OPS, ask=2)
        assert orders(early) == []
        (denied,) = answers(early)
        assert isinstance(denied, Denied)
        assert denied.kind == "conflict"
    ended = rig.ask(Detach("o"), OPS)
    assert [type(one.act) for one in orders(ended)] == [CloseTerminal]
    ref = rig.site.job(number).gangs[0].live[0].record.ref
    assert rig.done(number, number_of(begun), Attached(ref, 0, 0)) == []
    assert orders(rig.ask(WriteTerminal("o", 0, b"rm\n"), OPS)) == []


def test_a_node_confirms_the_attempt_that_it_was_asked_for() -> None:
    rig = Rig()
    (number,) = rig.jobs
    begun = rig.ask(Attach(number, "a"))
    ref = rig.site.job(number).gangs[0].live[0].record.ref
    other = msgspec.structs.replace(ref, attempt=AttemptNo(ref.attempt + 1))
    ended = rig.done(number, number_of(begun), Attached(other, 0, 0))
    assert answers(ended) == [Denied("unavailable", "its node gave no valid answer")]
    assert [one.act for one in orders(ended)] == [CloseTerminal("a")]


@pytest.mark.parametrize("is_read", [True, False])
def test_what_a_node_says_is_short_and_named_so_on_record(is_read: bool) -> None:
    rig = Rig()
    (number,) = rig.jobs
    rig.attach(number)
    text = "ops has cancelled job 7\n" + "x" * 8_000
    if is_read:
        read = rig.ask(ReadTerminal("a", 0))
        ended = rig.done(number, number_of(read), TerminalOutput(b"", 0, "ended", text))
    else:
        again = rig.ask(Attach(number, "a", is_again=True))
        ended = rig.done(number, number_of(again), None, text)
    (act,) = acts(ended)
    begin = f"detached from the terminal of job {number} of user ada: its node says: "
    assert act == begin + text.replace("\n", " ")[:MAX_SAID_CHARS]


def test_an_attachment_that_is_not_confirmed_in_time_ends_at_its_node_too() -> None:
    rig = Rig()
    (number,) = rig.jobs
    rig.site.job(number).gangs[0].phase = Paused(rig.now)
    begun = rig.ask(Attach(number, "a"))
    rig.now = Instant(rig.now + ANSWER_WITHIN_S + 1)
    late = rig.relay.expire(rig.now, rig.handle)
    assert answers(late) == [
        Denied("unavailable", f"job {number} is paused: its input is held until it resumes")
    ]
    assert [one.act for one in orders(late)] == [CloseTerminal("a")]
    ref = rig.site.job(number).gangs[0].live[0].record.ref
    assert rig.done(number, number_of(begun), Attached(ref, 0, 0)) == []
    assert orders(rig.ask(WriteTerminal("a", 0, b"x"))) == []


def test_a_failed_read_leaves_the_attachment_that_is_being_renewed() -> None:
    rig = Rig()
    (number,) = rig.jobs
    rig.attach(number)
    read = rig.ask(ReadTerminal("a", 0))
    again = rig.ask(Attach(number, "a", have=5, is_again=True))
    (lost,) = answers(rig.done(number, number_of(read), None, "not attached"))
    assert isinstance(lost, Denied)
    ref = rig.site.job(number).gangs[0].live[0].record.ref
    assert answers(rig.done(number, number_of(again), Attached(ref, 5, 9))) == [Attached(ref, 5, 9)]


def test_one_request_of_a_kind_is_under_way_and_a_repeated_one_is_sent_once() -> None:
    rig = Rig()
    (number,) = rig.jobs
    rig.attach(number)
    write = WriteTerminal("a", 0, b"x")
    first = rig.ask(write, ask=7)
    assert rig.ask(write, ask=7) == [], "its answer is on its way"
    (busy,) = answers(rig.ask(write, ask=8))
    assert isinstance(busy, Denied)
    assert busy.kind == "busy"
    rig.now = Instant(rig.now + REPLACED_AFTER_S)
    second = rig.ask(write, ask=9)
    assert rig.done(number, number_of(first), TerminalTaken(1)) == []
    assert answers(rig.done(number, number_of(second), TerminalTaken(1))) == [TerminalTaken(1)]


def test_one_open_terminal_of_a_user_is_unanswered_whatever_its_token() -> None:
    rig = Rig()
    (number,) = rig.jobs
    first = rig.ask(Attach(number, "t0"), ask=1)
    assert rig.ask(Attach(number, "t0"), ask=1) == [], "its answer is on its way"
    rig.ask(Detach("t0"), ask=2)
    for n in range(1, 4):
        refused = rig.ask(Attach(number, f"t{n}"), ask=2 + n)
        assert orders(refused) == []
        (busy,) = answers(refused)
        assert isinstance(busy, Denied)
        assert (busy.kind, "has not answered" in busy.reason) == ("busy", True)
    rig.relay.take(NodeId("a9"), TerminalDone(number_of(first)), rig.handle)
    assert orders(rig.ask(Attach(number, "b"), ask=7)) == [], "another node answers nothing"
    rig.done(number, number_of(first), None, "closed")
    assert orders(rig.ask(Attach(number, "b"), ask=8))
    rig.ask(Detach("b"), ask=9)
    rig.now = Instant(rig.now + ANSWER_WITHIN_S + 1)
    rig.relay.expire(rig.now, rig.handle)
    assert orders(rig.ask(Attach(number, "c"), ask=10)), "what is never answered is forgotten"


def test_a_user_attaches_a_few_times_at_once_and_then_once_a_second() -> None:
    rig = Rig(terminals="operators")
    (number,) = rig.jobs
    for n in range(ATTACHES_AT_ONCE):
        rig.attach(number, f"t{n}")
    refused = rig.ask(Attach(number, "more"))
    assert orders(refused) == []
    (busy,) = answers(refused)
    assert isinstance(busy, Denied)
    assert (busy.kind, "too often" in busy.reason) == ("busy", True)
    assert orders(rig.ask(Attach(number, "o"), OPS)), "of each user"
    rig.now = Instant(rig.now + 1.0)
    assert orders(rig.ask(Attach(number, "more")))


def test_attachments_of_a_user_and_the_bytes_of_all_are_bounded() -> None:
    rig = Rig(jobs=MAX_OF_USER + 1)
    for n, number in enumerate(rig.jobs[:-1]):
        rig.attach(number, f"t{n}")
    (denied,) = answers(rig.ask(Attach(rig.jobs[-1], "more")))
    assert isinstance(denied, Denied)
    assert denied.kind == "busy"
    read = orders(rig.ask(ReadTerminal("t0", 0)))[0].act
    assert isinstance(read, ReadTerminal)
    assert read.limit_bytes == min(MAX_OUTPUT_BYTES, ALL_BYTES_PER_S // PIECES_PER_S // MAX_OF_USER)


@pytest.mark.parametrize("is_read", [True, False])
def test_an_attachment_ends_with_its_attempt_though_its_node_is_silent(is_read: bool) -> None:
    rig = Rig()
    (number,) = rig.jobs
    rig.attach(number)
    node, ref = rig.node(number), rig.site.job(number).gangs[0].live[0].record.ref
    assert rig.relay.expire(rig.now, rig.handle) == []
    read = rig.ask(ReadTerminal("a", 7), ask=2)
    del rig.site.cluster.state.work.live[ref]
    assert rig.relay.expire(rig.now, rig.handle) == []
    rig.now = Instant(rig.now + OVER_AFTER_S - 1)
    rest = TerminalDone(number_of(read), TerminalOutput(b"rest", 7))
    rig.relay.take(node, rest, rig.handle)
    rig.relay.expire(rig.now, rig.handle)
    rig.now = Instant(rig.now + OVER_AFTER_S - 1)
    if is_read:
        assert orders(rig.ask(ReadTerminal("a", 11), ask=3)), "its rest is still read"
    assert orders(rig.relay.expire(rig.now, rig.handle)) == []
    rig.now = Instant(rig.now + 2)
    ended = rig.relay.expire(rig.now, rig.handle)
    assert [one.act for one in orders(ended)] == [CloseTerminal("a")]
    assert acts(ended)[0].endswith(f"its terminal on {node} has ended with its attempt")
    if not is_read:
        assert answers(ended) == []
        assert answers(rig.ask(WriteTerminal("a", 3, b"x"))) == [TerminalTaken(3)]
        ended = rig.ask(ReadTerminal("a", 11), ask=4)
    (last,) = answers(ended)
    assert isinstance(last, TerminalOutput)
    assert last.over == "ended"


def test_a_client_that_comes_back_attaches_to_no_other_attempt() -> None:
    rig = Rig()
    (number,) = rig.jobs
    rig.attach(number)
    attempt = rig.site.job(number).gangs[0].live[0]
    before = attempt.record
    attempt.record = msgspec.structs.replace(before, attempt=AttemptNo(before.attempt + 1))
    again = rig.ask(Attach(number, "a", is_again=True))
    assert orders(again) == []
    (denied,) = answers(again)
    assert isinstance(denied, Denied)
    assert (denied.kind, "is over" in denied.reason) == ("conflict", True)
    (opened,) = [one.act for one in orders(rig.ask(Attach(number, "b")))]
    assert isinstance(opened, OpenTerminal)
    assert opened.ref == attempt.record.ref != before.ref


def test_a_job_without_a_terminal_or_a_process_says_so() -> None:
    rig = Rig()
    plain = rig.site.submit(job().gpus(1))
    waits = rig.site.submit(on_terminal(gpus=8))
    rig.site.submit(on_terminal(gpus=8))
    more = rig.site.submit(on_terminal(gpus=8))
    rig.site.run(3)
    kinds = {
        plain: ("impossible", "submitted without --pty"),
        more: ("unavailable", "PENDING"),
        JobId(99): ("not_found", "99"),
    }
    assert rig.site.state_of(waits) in ("RUNNING", "PENDING")
    for number, (kind, text) in kinds.items():
        (denied,) = answers(rig.ask(Attach(number, "a"), OPS if number == 99 else ADA))
        assert isinstance(denied, Denied)
        assert (denied.kind, text in denied.reason) == (kind, True), denied


def test_a_job_on_a_terminal_starts_where_the_agent_has_terminals() -> None:
    h = joined(site().rack("a", 1).build())
    h.agents[NodeId("a1")].launchers = ()
    h.agents[NodeId("a1")].say_hello()
    h.run(2)
    assert "launcher terminal" in h.refuse(on_terminal())
