"""A real scheduler process: what it answers is on disk, whoever misbehaves harms only himself."""

import resource
from pathlib import Path

import msgspec
import pytest

from support.core.job_asks import jobs_on_disk, submit, view
from support.core.sites import job
from support.programs.live_scheduler import (
    SchedulerProcess,
    SiteDirectory,
    WireAgent,
    WireClient,
    pump_until,
    until,
)
from wattline.client import Client
from wattline_protocol.ids import AttemptNo, JobId, NodeId, TaskNo, TaskRef, UnixTime
from wattline_protocol.job.selection import only
from wattline_protocol.trust.keys import JoinBundle, KeyPair
from wattline_protocol.views.history_views import Subject
from wattline_protocol.views.load_views import GetLoad, Load
from wattline_protocol.views.report_views import GetReport, Report
from wattline_protocol.wire.agent_messages import (
    LogChunk,
    ReadLog,
    Refused,
    Rehello,
    Rollup,
    Rollups,
)
from wattline_protocol.wire.client_messages import (
    Acted,
    Cancel,
    Denied,
    Done,
    Events,
    Explain,
    Explained,
    FetchLog,
    GetJob,
    GetNode,
    GetPower,
    GetSite,
    Jobs,
    ListEvents,
    ListJobs,
    ListNodes,
    Log,
    Nodes,
    Power,
    Response,
    Shed,
    SiteNow,
    Submit,
    Submitted,
)
from wattline_protocol.wire.codec import MAX_MESSAGE_BYTES
from wattline_protocol.wire.routes import Routes
from wattline_protocol.wire.subscriptions import Unwatch, WatchRoutes, WatchSite
from wattline_protocol.wire.transport import ClientSocket


def test_a_submission_is_on_disk_when_it_is_answered(
    scheduler: SchedulerProcess, state: Path, ada: JoinBundle
) -> None:
    with WireClient(ada).welcomed() as client:
        assert submit(client) in jobs_on_disk(state)


def test_it_says_how_long_its_steps_took(scheduler: SchedulerProcess, ada: JoinBundle) -> None:
    with WireClient(ada).welcomed() as client:
        submit(client)
        load = client.ask(GetLoad())
    assert isinstance(load, Load)
    assert load.steps > 0
    assert 0.0 < load.worst_step_cpu_s < load.worst_step_s
    assert 0.0 < load.busy_share < 1.0


def test_kill_9_loses_nothing_that_was_answered_and_gives_no_number_twice(
    directory: SiteDirectory, state: Path, ada: JoinBundle
) -> None:
    answered: list[JobId] = []
    for run in range(3):
        with SchedulerProcess(directory.path, state) as process:
            process.ready()
            with WireClient(ada).welcomed() as client:
                for number in range(20):
                    client.start(Submit(job().build(), f"{run}-{number}"))
                for _ in range(1 + 5 * run):
                    reported = client.next()
                    assert isinstance(reported, Response)
                    assert isinstance(reported.answer, Submitted)
                    answered.append(reported.answer.job)
                process.kill()
    assert len(answered) == len(set(answered)) == 1 + 6 + 11
    with SchedulerProcess(directory.path, state) as process:
        process.ready()
        with WireClient(ada).welcomed() as client:
            listed = client.ask(ListJobs())
            assert isinstance(listed, Jobs)
            assert set(answered) <= {view.id for view in listed.jobs}
            # The same token again gives the same job, also across restarts.
            assert submit(client, token="0-0") == answered[0]
        assert process.stop() == 0


def test_many_questions_at_once_are_all_answered_in_turn(
    scheduler: SchedulerProcess, ada: JoinBundle
) -> None:
    """One a step; whatever else is asked meanwhile is answered when it comes."""
    with WireClient(ada).welcomed() as client:
        number = submit(client)
        asked = [client.start(Explain(number)) for _ in range(40)]
        other = client.start(GetJob(number))
        reported = [client.next() for _ in (*asked, other)]
        answers = {tell.ask: tell.answer for tell in reported if isinstance(tell, Response)}
        assert [ask for ask in answers if ask != other] == asked
        assert all(isinstance(answers[ask], Explained) for ask in asked)
        assert isinstance(answers[other], Jobs)


def test_a_job_runs_on_an_agent_and_is_seen_everywhere(
    directory: SiteDirectory, scheduler: SchedulerProcess, ada: JoinBundle
) -> None:
    with WireAgent(directory.bundle("a1")).join() as agent, WireClient(ada).welcomed() as client:
        number = submit(client)
        pump_until([agent], lambda: agent.fake.tasks, "the task to start")
        pump_until([agent], lambda: view(client, number).state == "RUNNING", "RUNNING")
        assert view(client, number).nodes == ("a1",)
        explained = client.ask(Explain(number))
        assert isinstance(explained, Explained)
        assert explained.explain.nodes_total == 2
        nodes = client.ask(ListNodes())
        assert isinstance(nodes, Nodes)
        assert [node.state for node in nodes.nodes] == ["ok", "never heard"]
        assert nodes.nodes[0].gpus[0].job == number
        power = client.ask(GetPower())
        assert isinstance(power, Power)
        site_domain = power.domains[0]
        assert site_domain.committed_w <= site_domain.budget_w - site_domain.reserved_w
        agent.fake.end_all()
        pump_until([agent], lambda: view(client, number).state == "COMPLETED", "COMPLETED")
        pump_until([agent], lambda: not agent.fake.tasks, "ForgetTask")
        shown = client.ask(GetJob(number))
        assert isinstance(shown, Jobs)
        assert [a.exit.code for a in shown.jobs[0].attempts if a.exit] == [0]
        report = client.ask(GetReport())
        assert isinstance(report, Report)
        assert report.report.gpu_hours > 0
        assert [one.name for one in report.report.queues] == ["default"]


def test_a_task_runs_on_when_the_scheduler_is_killed(
    directory: SiteDirectory, state: Path, ada: JoinBundle
) -> None:
    bundle = directory.bundle("a1")
    with SchedulerProcess(directory.path, state) as first:
        first.ready()
        with WireAgent(bundle).join() as agent, WireClient(ada).welcomed() as client:
            number = submit(client)
            pump_until([agent], lambda: view(client, number).state == "RUNNING", "RUNNING")
            (task,) = agent.fake.tasks
            first.kill()
            with SchedulerProcess(directory.path, state) as second:
                second.ready()
                client.socket.close()
                until(lambda: agent.socket.link.connections > 1, "the agent to reconnect")
                agent.fake.say_hello()
                with WireClient(ada).welcomed() as again:
                    pump_until([agent], lambda: view(again, number).state == "RUNNING", "RUNNING")
                    attempts = view(again, number).attempts
                    assert [(a.attempt, a.state) for a in attempts] == [(1, "RUNNING")]
                    assert list(agent.fake.tasks) == [task]


def test_another_version_is_refused_in_words(
    directory: SiteDirectory, scheduler: SchedulerProcess, ada: JoinBundle
) -> None:
    with WireClient(ada, protocol=99) as client:
        answer = client.greet()
        assert isinstance(answer, Refused)
        assert "protocol version 99 is not supported, this scheduler uses 1" in answer.reason
        # A version so new that the rest of its greeting cannot be read.
        client.send_bytes(msgspec.msgpack.encode({"t": "client_hello", "protocol": 2, "client": 7}))
        assert isinstance(client.next(), Refused)
    with WireAgent(directory.bundle("a1")).connected() as agent:
        agent.fake.say_hello(protocol=2)
        until(lambda: agent.pump() and agent.heard, "an answer")
        assert isinstance(agent.heard[0], Refused)
        assert "version 2" in agent.heard[0].reason
    assert scheduler.wait_for("refused")["reason"] == "wrong_version"


def test_what_is_malformed_is_counted_and_harms_nobody(
    directory: SiteDirectory, scheduler: SchedulerProcess, ada: JoinBundle
) -> None:
    with (
        WireClient(ada).welcomed() as good,
        WireClient(directory.bundle("bob")).welcomed() as bad,
        WireAgent(directory.bundle("a1")).join() as agent,
    ):
        for data in (b"", b"\xc1garbage", msgspec.msgpack.encode({"t": "no_such"}), b"\x90" * 999):
            bad.send_bytes(data)
            assert isinstance(bad.next(), Refused)
        agent.send_bytes(b"nonsense")
        agent.send_bytes(msgspec.msgpack.encode({"t": "beat", "seq": "one"}))
        bad.send_bytes(b"x" * (MAX_MESSAGE_BYTES + 1))
        submit(good)
        pump_until([agent], lambda: agent.fake.tasks, "work to go on")
        assert {scheduler.wait_for("refused")["who"] for _ in range(6)} == {"a1", "bob"}
        pump_until([agent], lambda: refused_messages(good) >= 7, "seven refusals counted")


def refused_messages(client: WireClient) -> int:
    answer = client.ask(GetSite())
    assert isinstance(answer, SiteNow)
    return answer.site.refused_messages


def test_a_client_that_skips_its_hello_is_told(
    scheduler: SchedulerProcess, ada: JoinBundle
) -> None:
    with WireClient(ada) as client:
        assert client.socket.wait_connected(20).state == "connected"
        client.start(ListJobs())
        answer = client.next()
        assert isinstance(answer, Refused)
        assert "ClientHello" in answer.reason


def test_an_agent_may_not_speak_for_another_node(
    directory: SiteDirectory, scheduler: SchedulerProcess
) -> None:
    with (
        WireAgent(directory.bundle("a1")).join() as honest,
        WireAgent(directory.bundle("a2")).connected() as liar,
        WireAgent(directory.bundle("z9")).connected() as stranger,
    ):
        liar.fake.say_hello(node=NodeId("a1"))
        until(lambda: liar.pump() and liar.heard, "an answer")
        assert isinstance(liar.heard[0], Refused)
        assert "not to a1" in liar.heard[0].reason
        stranger.fake.say_hello()
        until(lambda: stranger.pump() and stranger.heard, "an answer")
        assert isinstance(stranger.heard[0], Refused)
        assert "not in the site file" in stranger.heard[0].reason
        beats = len(honest.heard)
        pump_until([honest], lambda: len(honest.heard) > beats, "a beat to be answered")
        assert not [m for m in honest.heard if isinstance(m, Rehello | Refused)]


def test_unknown_keys_and_wrong_roles_do_not_get_in(
    directory: SiteDirectory, scheduler: SchedulerProcess, ada: JoinBundle
) -> None:
    site_file = directory.site
    unknown = ClientSocket(site_file.client_endpoint, KeyPair.generate(), directory.keys.public)
    crossed = ClientSocket(site_file.agent_endpoint, ada.keys, directory.keys.public)
    for socket in (unknown, crossed):
        assert socket.wait_connected(20).state == "refused"
        socket.close()
    reasons = {scheduler.wait_for("refused")["reason"] for _ in range(2)}
    assert reasons == {"unknown_key", "wrong_role"}


def test_roles_limit_what_may_be_asked(
    directory: SiteDirectory, scheduler: SchedulerProcess, ada: JoinBundle
) -> None:
    with (
        WireClient(ada).welcomed() as submitter,
        WireClient(directory.bundle("gate")).welcomed() as gateway,
        WireClient(directory.bundle("ops")).welcomed() as operator,
        WireClient(directory.bundle("bob")).welcomed() as other,
    ):
        denied = submitter.ask(Shed(None, fraction=0.25))
        assert isinstance(denied, Denied)
        assert denied.kind == "not_allowed"
        assert isinstance(operator.ask(Shed(None, fraction=0.25)), Done)
        assert isinstance(gateway.ask(ListJobs()), Denied)
        assert isinstance(gateway.ask(WatchRoutes()), Routes)
        assert isinstance(submitter.ask(WatchRoutes()), Denied)
        number = submit(submitter)
        assert isinstance(other.ask(GetJob(number)), Jobs)
        assert isinstance(other.ask(Cancel(only(number))), Denied)
        logs = [client.ask(FetchLog(number)) for client in (other, operator, submitter)]
        assert [log.kind for log in logs if isinstance(log, Denied)] == [
            "not_allowed",
            "not_found",
            "not_found",
        ]
        assert isinstance(submitter.ask(Cancel(only(number))), Acted)


def test_what_does_not_exist_is_named(scheduler: SchedulerProcess, ada: JoinBundle) -> None:
    with WireClient(ada).welcomed() as client:
        for request, text in (
            (GetJob(JobId(77)), "no job 77"),
            (Explain(JobId(77)), "no job 77"),
            (FetchLog(JobId(77)), "no job 77"),
            (GetNode(NodeId("q7")), "no node 'q7'"),
        ):
            answer = client.ask(request)
            assert isinstance(answer, Denied)
            assert answer.kind == "not_found"
            assert text in answer.reason
        number = submit(client)
        answer = client.ask(FetchLog(number))
        assert isinstance(answer, Denied)
        assert "not been placed" in answer.reason


def test_watches_come_again_and_end_when_told(scheduler: SchedulerProcess, ada: JoinBundle) -> None:
    with WireClient(ada).welcomed() as watcher, WireClient(ada).welcomed() as other:
        site_watch = watcher.start(WatchSite(period_s=0.2))
        event_watch = watcher.start(ListEvents(after=0, follow=True))
        seen: dict[int, list[object]] = {site_watch: [], event_watch: []}

        def collect() -> None:
            reported = watcher.next()
            assert isinstance(reported, Response)
            assert not reported.is_last
            seen[reported.ask].append(reported.answer)

        def kinds() -> list[str]:
            batches = [a for a in seen[event_watch] if isinstance(a, Events)]
            return [event.kind for batch in batches for event in batch.events]

        while len(seen[site_watch]) < 3 or not seen[event_watch]:
            collect()
        number = submit(other)
        while "job_submitted" not in kinds():
            collect()
        while not any(isinstance(a, SiteNow) and a.site.jobs for a in seen[site_watch]):
            collect()
        listed = other.ask(ListEvents())
        assert isinstance(listed, Events)
        assert [event.kind for event in listed.events] == kinds()
        assert any(event.job == number for event in listed.events)
        watcher.send_bytes(msgspec.msgpack.encode(ask_unwatch(site_watch)))
        watcher.send_bytes(msgspec.msgpack.encode(ask_unwatch(event_watch)))
        assert isinstance(watcher.ask(GetPower()), Power)
        with pytest.raises(AssertionError, match="an answer"):
            watcher.next(within_s=0.6)


def test_pictures_follow_the_site_and_a_restart(
    directory: SiteDirectory, state: Path, ada: JoinBundle
) -> None:
    with Client(ada) as client:
        pictures = client.watch_pictures()
        with SchedulerProcess(directory.path, state) as process:
            process.ready()
            first = next(pictures)
            number = client.submit(command=["true"], gpus=1)
            then = next(one for one in pictures if number in one.jobs)
            (site,) = client.history(Subject("domain", "site")).series
            assert any(site.columns["budget_w"])
            assert process.stop() == 0
        assert list(first.nodes) == ["a1", "a2"]
        assert all(then.nodes[name] is first.nodes[name] for name in first.nodes)
        assert number not in first.jobs
        with SchedulerProcess(directory.path, state) as process:
            process.ready()
            again = next(one for one in pictures if one.epoch != first.epoch)
            assert again.jobs[number].state == "PENDING"
            assert again.unix_s > then.unix_s


def ask_unwatch(number: int) -> dict[str, object]:
    return {"t": "ask", "ask": 0, "request": msgspec.to_builtins(Unwatch(number))}


def test_the_same_watch_twice_is_one_watch_and_too_many_are_refused(
    scheduler: SchedulerProcess, ada: JoinBundle
) -> None:
    with WireClient(ada).welcomed() as client:
        numbers = [client.start(ListEvents(follow=True)) for _ in range(17)]
        answers: dict[int, object] = {}
        while len(answers) < 17:
            reported = client.next()
            assert isinstance(reported, Response)
            answers[reported.ask] = reported.answer
        denied = [answer for answer in answers.values() if isinstance(answer, Denied)]
        assert [answer.kind for answer in denied] == ["busy"]
        assert numbers[-1] in answers


def test_logs_come_from_the_node_or_the_reason_why_not(
    directory: SiteDirectory, scheduler: SchedulerProcess, ada: JoinBundle
) -> None:
    with WireAgent(directory.bundle("a1")).join() as agent, WireClient(ada).welcomed() as client:
        number = submit(client)
        pump_until([agent], lambda: agent.fake.tasks, "the task to start")
        client.start(FetchLog(number, offset=3))
        pump_until([agent], lambda: any(isinstance(m, ReadLog) for m in agent.heard), "ReadLog")
        read = next(m for m in agent.heard if isinstance(m, ReadLog))
        assert (read.ref, read.offset) == (TaskRef(number, TaskNo(0), AttemptNo(1)), 3)
        agent.send(LogChunk(request=read.request + 1, data=b"?", next_offset=0, at_end=True))
        agent.send(LogChunk(request=read.request, data=b"loss 0.1", next_offset=11, at_end=True))
        reported = client.next()
        assert isinstance(reported, Response)
        assert reported.answer == Log(read.ref, b"loss 0.1", 11, at_end=True, task_ended=False)
        silent = client.ask(FetchLog(number))
        assert isinstance(silent, Denied)
        assert (silent.kind, "did not answer" in silent.reason) == ("unavailable", True)
        agent.fake.say_farewell()
        agent.pump()
        pump_until([], lambda: node_state(client, "a1") == "silent", "silent")
        away = client.ask(FetchLog(number))
        assert isinstance(away, Denied)
        assert (away.kind, "does not report" in away.reason) == ("unavailable", True)


def node_state(client: WireClient, name: str) -> str:
    answer = client.ask(GetNode(NodeId(name)))
    assert isinstance(answer, Nodes)
    return answer.nodes[0].state


def test_spooled_energy_is_counted_once(
    directory: SiteDirectory, scheduler: SchedulerProcess, ada: JoinBundle
) -> None:
    with WireAgent(directory.bundle("a1")).join() as agent, WireClient(ada).welcomed() as client:
        item = Rollup(UnixTime(1_700_000_000.0), 60.0, 7_200_000_000, (1, 2), 9_000_000, 5)
        for _ in range(3):
            agent.send(Rollups(agent.fake.incarnation, last=4, items=(item,)))
        pump_until([agent], lambda: str(agent.heard).count("RollupsSeen") == 3, "RollupsSeen")
        report = client.ask(GetReport(until_unix_s=1_700_000_060.0))
        assert isinstance(report, Report)
        assert report.report.site_energy_kwh == pytest.approx(2.0)
        assert report.report.idle_energy_kwh == pytest.approx(2.0)


def test_nothing_is_acknowledged_once_the_disk_is_full(
    directory: SiteDirectory, state: Path, ada: JoinBundle
) -> None:
    with SchedulerProcess(directory.path, state) as process:
        process.ready()
        with WireClient(ada).welcomed() as client:
            answered = [submit(client, f"before-{n}") for n in range(5)]
            size = max(path.stat().st_size for path in state.iterdir())
            limit = size + 16 * 1024
            resource.prlimit(process.process.pid, resource.RLIMIT_FSIZE, (limit, limit))
            for number in range(150):
                client.start(Submit(job().build(), f"after-{number}"))
            assert process.gone() == 1
            while client.socket.poll(0.5):
                answered += [
                    reported.answer.job
                    for data in client.socket.recv_batch()
                    if isinstance(reported := client._in.decode(data), Response)
                    and isinstance(reported.answer, Submitted)
                ]
        failed = process.wait_for("store_failed")
        assert failed["kind"] == "StoreFull"
        assert "Free space" in failed["reason"]
    assert 5 <= len(answered) < 155
    with SchedulerProcess(directory.path, state) as process:
        process.ready()
        assert set(answered) <= jobs_on_disk(state)
