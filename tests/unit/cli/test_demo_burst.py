"""How the demo of a burst judges caps, misses and kept steps."""

from dataclasses import replace
from pathlib import Path

import pytest

from wattline.demo.burst import plan
from wattline.demo.burst.caps import CapChange, Raise, raised
from wattline.demo.burst.findings import BurstFindings, Training
from wattline.demo.burst.load import Asked
from wattline.demo.burst.report import make_report, span
from wattline.demo.layout import Ports
from wattline_examples.serve_clocked import slowdown
from wattline_protocol.job.file import parse_job
from wattline_protocol.site.file import parse_site

STEP_S = 100.0
KEPT = Training(
    preempted_s=6.0,
    reached_epoch=40,
    saved_epoch=40,
    resumed_epoch=40,
    resumed_s=1.0,
    later_epoch=41,
)


def requests(late: int = 0, failed: int = 0, due_s: float = STEP_S - 5) -> list[Asked]:
    good = [Asked(due_s, 0.1)] * (100 - late - failed)
    return good + [Asked(due_s, 1.5)] * late + [Asked(due_s, 0.1, "HTTP 503")] * failed


def met(**changes: object) -> BurstFindings:
    findings = BurstFindings(
        steady_s=STEP_S - 10,
        step_s=STEP_S,
        end_s=STEP_S + 60,
        caps=Raise(200.0, 364.0, 1.2),
        decided_s=STEP_S + 4,
        started_s=STEP_S + 7,
        ready_s=STEP_S + 12,
        training=KEPT,
        requests=[*requests(), *requests(due_s=STEP_S + 20)],
    )
    return replace(findings, **changes)  # type: ignore[arg-type]


def test_caps_are_raised_by_the_first_clear_rise_of_the_replicas_own_gpus() -> None:
    changes = [
        CapChange(1.0, 0, 700.0),
        CapChange(2.0, 0, 210.0),
        CapChange(2.0, 1, 700.0),
        CapChange(9.0, 0, 200.0),
        CapChange(10.2, 1, 300.0),
        CapChange(10.5, 0, 205.0),
        CapChange(11.5, 0, 350.0),
        CapChange(30.0, 0, 400.0),
    ]
    assert raised(changes, {0}, 10.0, 20.0) == Raise(200.0, 350.0, 1.5)
    assert raised(changes, {0}, 10.0, 11.0).raised_s is None
    assert raised([], {0}, 10.0, 11.0) == Raise(0.0, 0.0, None)


def test_a_span_counts_what_was_due_in_it() -> None:
    row = span("before", [*requests(late=3, failed=2), *requests(due_s=STEP_S)], 90.0, STEP_S)
    assert (row.requests, row.failed, row.late) == (100, 2, 3)
    assert row.missed_share == pytest.approx(0.05)
    assert row.p95_ms == pytest.approx(100.0)


def test_all_bars_hold() -> None:
    report = make_report(met())
    assert report.missing == ()
    assert report.ok
    assert [row.what for row in report.spans] == ["before", "scaling", "after"]
    assert (report.replica.decided_s, report.replica.started_s) == (4.0, 7.0)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"caps": Raise(200.0, 364.0, 2.1)}, "caps were raised 2.1 s after"),
        ({"caps": Raise(200.0, 200.0, None)}, "caps were raised: not seen"),
        ({"started_s": STEP_S + 10.5}, "started 10.5 s after"),
        ({"started_s": None}, "the second replica was started: not seen"),
        ({"training": replace(KEPT, saved_epoch=39)}, "reached epoch 40, saved 39"),
        ({"training": replace(KEPT, resumed_epoch=1)}, "resumed from 1"),
        ({"training": replace(KEPT, later_epoch=40)}, "saved nothing"),
        ({"training": Training()}, "not preempted and resumed"),
        ({"requests": requests(late=6)}, "6.0% of the requests missed the SLO before"),
        ({"requests": requests()}, "no request was due after"),
        ({"trouble": ["the agent ended"]}, "the agent ended"),
        ({"leftovers": ["process 7"]}, "left over: process 7"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bar_that_does_not_hold_is_named(changes: dict[str, object], text: str) -> None:
    report = make_report(met(**changes))
    assert not report.ok
    assert any(text in one for one in report.missing), report.missing


def test_site_and_jobs_of_the_burst_are_valid(tmp_path: Path) -> None:
    rules = 'users = { ops = "nobody" }'
    site = parse_site(plan.PLAN.site_text(Ports(7001, 7002, 7003, 7004), tmp_path, rules), "demo")
    assert [node.id for node in site.nodes] == [plan.NODE]
    files = [plan.write_training(tmp_path), plan.write_service(tmp_path, tmp_path)]
    training, service = (parse_job(file.read_text(), str(file)) for file in files)
    assert training.priority < service.priority
    assert service.service is not None
    assert (service.service.least, service.service.most) == (1, 2)


def test_a_sixth_of_the_time_follows_the_core_clock() -> None:
    assert slowdown(1.0) == 1.0
    assert slowdown(0.5) == pytest.approx(1.0 + 1 / 6)
    assert slowdown(0.25) == pytest.approx(1.5)
