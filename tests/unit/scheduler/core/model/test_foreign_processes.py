"""GPUs that others use: offered to no task, shown, and booked without an alarm."""

import msgspec
import pytest

from support.core.harness import Harness
from support.core.sites import BASE_MW, PSU_PERMILLE, gpu, job, site
from wattline_protocol.ids import GpuIndex, NodeId
from wattline_protocol.site.wall_power import wall_mw
from wattline_protocol.wire.agent_messages import Adopted, Beat, Rehello
from wattline_protocol.wire.gpu_process import GpuProcess
from wattline_scheduler.core.model.foreign_processes import LEASED_WITHIN_S
from wattline_scheduler.core.model.node import Welcomed
from wattline_scheduler.views.nodes_view import node_view

PYTHON = GpuProcess(4711, "python", "ada", 12 << 30)
WHO = "process 4711 (python, user ada)"


@pytest.fixture
def h() -> Harness:
    """One node of two GPUs."""
    made = Harness(site().rack("a", 1).site_budget(100.0).build())
    agent = made.agent("a1")
    agent.gpus = [gpu(0), gpu(1)]
    agent.__post_init__()
    made.join()
    made.run(2)
    return made


def beat(h: Harness, *used: int, draws: bool = True) -> Beat:
    """What the agent says while these GPUs are used by others."""
    plain, agent = h.agent("a1").beat(), h.agent("a1")
    samples = tuple(
        msgspec.structs.replace(one, foreign=(PYTHON,), is_idle=not draws)
        if one.index in used
        else one
        for one in plain.gpus
    )
    more_mw = sum(agent.gpus[i].cap_min_mw - agent.gpus[i].idle_mw for i in used if draws)
    holding_mw = plain.holding_mw + wall_mw(more_mw, PSU_PERMILLE)
    return msgspec.structs.replace(plain, gpus=samples, holding_mw=holding_mw)


def test_it_is_offered_to_no_task_and_the_reason_names_the_process(h: Harness) -> None:
    h.say("a1", beat(h, 0, draws=False))
    first, second = h.submit(job().gpus(1)), h.submit(job().gpus(1))
    assert h.gang(first).live[0].record.gpus == (1,)
    assert h.state_of(second) == "PENDING"
    reason = f"waits for gpus: a1: 1 more free GPU (GPU 0 is in use by {WHO})"
    assert h.job(second).wait_reason == reason
    h.say("a1", h.agent("a1").beat())
    h.settle()
    assert h.gang(second).live[0].record.gpus == (0,)


def test_shares_of_it_are_given_to_nobody(h: Harness) -> None:
    first = h.submit(job().share(500))
    (used,) = h.gang(first).live[0].record.gpus
    h.say("a1", beat(h, used, draws=False))
    second = h.submit(job().share(500))
    assert h.gang(second).live[0].record.gpus == (1 - used,)
    assert h.state_of(first) == "RUNNING"


def test_the_view_shows_process_user_and_memory(h: Harness) -> None:
    h.say("a1", beat(h, 0, draws=False))
    view = node_view(h.cluster.state, h.node("a1"), h.now)
    assert view.gpus[0].foreign == (PYTHON,)
    assert view.gpus_unavailable == 1
    assert view.gpus[0].jobs == "python of ada"
    assert not view.problems, "its agent says it, as a condition that lasts"


def test_somebody_who_begins_to_work_on_an_idle_node_is_no_alarm(h: Harness) -> None:
    """The next division leases it, where there is room."""
    before_kw = h.committed_kw("a1")
    h.say("a1", beat(h, 0))
    assert not h.events("books_contradicted")
    assert h.cluster.state.books.entry(NodeId("a1")).standing == "leased"
    assert h.committed_kw("a1") >= before_kw + (gpu(0).cap_min_mw - gpu(0).idle_mw) / 1e6


def test_more_than_others_can_explain_is_an_alarm_as_before(h: Harness) -> None:
    said = beat(h, 0)
    h.say("a1", msgspec.structs.replace(said, holding_mw=said.holding_mw + 10**7))
    assert h.events("books_contradicted")


def test_a_gpu_with_a_task_explains_nothing(h: Harness) -> None:
    number = h.submit(job().gpus(1))
    (index,) = h.gang(number).live[0].record.gpus
    h.settle()
    assert index == GpuIndex(0)
    plain = h.agent("a1").beat()
    h.say("a1", msgspec.structs.replace(plain, holding_mw=plain.holding_mw + 10_000_000))
    assert h.events("books_contradicted")


def test_without_room_for_a_lease_the_caps_are_read_back_and_replace_the_entry() -> None:
    """No alarm, and no nameplate: the books are what the node is held at, above the budget."""
    agent_gpus = [gpu(0), gpu(1)]
    idle_mw = wall_mw(BASE_MW + sum(one.idle_mw for one in agent_gpus), PSU_PERMILLE)
    tight = Harness(site().rack("a", 1).site_budget((idle_mw + 30_000) / 1e6).build())
    agent = tight.agent("a1")
    agent.gpus = agent_gpus
    agent.__post_init__()
    tight.join()
    tight.run(2)
    begun_s, said = tight.mono_s, beat(tight, 0)
    while not tight.sent_to("a1", Rehello):
        said = beat(tight, 0)
        tight.say("a1", said)
        tight.mono_s += 1.0
    assert tight.mono_s - begun_s >= LEASED_WITHIN_S, "a lease was waited for"
    tight.say("a1", agent.said.pop())
    assert isinstance(tight.node("a1").link, Welcomed)
    adopted = next(one for one in agent.said if isinstance(one, Adopted))
    tight.say("a1", msgspec.structs.replace(adopted, holding_mw=said.holding_mw))
    assert tight.committed_kw("a1") == said.holding_mw / 1e6
    assert [one.level for one in tight.events("node_above_books")] == ["warning"]
    assert not tight.events("books_contradicted")
