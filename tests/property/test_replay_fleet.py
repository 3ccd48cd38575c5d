"""Random small fleets and queues: everything ends, and nothing is given out that is not there."""

from hypothesis import given, settings
from hypothesis import strategies as st

from wattline_lab.replay.fleet.engine import Engine, NeverFits
from wattline_lab.replay.fleet.inventory import MODELS, Host, site_of
from wattline_lab.replay.fleet.lines import BySubmission, ByTurn
from wattline_lab.replay.fleet.machines import Machines
from wattline_lab.replay.fleet.mixing import mixed
from wattline_lab.replay.jobs.trace import TraceJob
from wattline_lab.replay.meter import Meter
from wattline_scheduler.power.books.watt_admission import admission_headroom

HOSTS = st.lists(
    st.tuples(st.sampled_from(sorted(MODELS)), st.sampled_from([1, 4, 8])), min_size=1, max_size=8
)
JOBS = st.lists(
    st.tuples(
        st.sampled_from([1, 1, 2, 4, 8, 16]),
        st.floats(0.0, 20_000.0),
        st.floats(1.0, 9_000.0),
        st.sampled_from(["vgg16", "alexnet", ""]),
        st.sampled_from("abc"),
    ),
    min_size=1,
    max_size=20,
)


@settings(max_examples=40)
@given(HOSTS, JOBS, st.sampled_from([0.4, 0.6, 0.8, 1.0]), st.booleans(), st.booleans())
def test_all_work_ends_within_its_budget(
    nodes: list[tuple[str, int]],
    drawn: list[tuple[int, float, float, str, str]],
    budget: float,
    is_capped: bool,
    passes_over: bool,
) -> None:
    hosts = [Host(str(n), model, gpus, 128) for n, (model, gpus) in enumerate(sorted(nodes))]
    jobs = [TraceJob(n, g, at, runs, 1.0, k, a) for n, (g, at, runs, k, a) in enumerate(drawn)]
    work = mixed(jobs, hosts, copies=1, days=1.0, seed=1)
    machines = Machines(site_of(hosts, budget), hosts)
    free = {host.model: 0 for host in hosts}
    for host in hosts:
        free[host.model] += host.gpus
    meter = Meter(free, ["a/0", "b/0", "c/0"], 86_400.0)
    line = ByTurn() if passes_over else BySubmission()

    def check(_: float) -> None:
        headroom_mw = admission_headroom(
            machines.books, machines.fleet_view.booked_mw, machines.fleet_view.is_controlled
        )
        assert (headroom_mw >= 0).all(), "more is kept below a row than it may give"

    engine = Engine(machines, line, meter, is_capped=is_capped, passes_over=passes_over)
    try:
        engine.run(work.asked, check)
    except NeverFits:
        assert not any(machine.holders for machine in machines.all), "it was not waited for"
        return
    assert len(engine.ended) == len(work.asked)
    for one in engine.ended:
        run = one.gang.run
        assert run.jct_s + 1e-5 >= run.held_s >= run.job.duration_s - 1e-5
