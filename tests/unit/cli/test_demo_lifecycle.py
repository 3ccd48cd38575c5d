"""How the demo of a lifecycle is set up and judged."""

from dataclasses import replace
from pathlib import Path

import pytest

from wattline.demo.burst.load import Asked
from wattline.demo.layout import Ports
from wattline.demo.lifecycle import plan
from wattline.demo.lifecycle.findings import LifecycleFindings
from wattline.demo.lifecycle.report import make_report
from wattline_protocol.job.file import parse_job
from wattline_protocol.site.file import parse_site

STEPS = ("file digits.npz ab", "data digits@v1", "run 3#1", "checkpoint /c/3", "data digits-net@v2")
SERVED = "service digits job 5, RUNNING"


def met(**changes: object) -> LifecycleFindings:
    findings = LifecycleFindings(
        columns=("images[0]", "images[8]"),
        refusal="digits@v2 breaks rules against digits@v1: images[0]: psi 16 (limit 0.25)",
        refused_attempts=0,
        accuracies={"digits-net@v1": 0.2, "digits-net@v2": 0.9},
        requests=[Asked(1.0, 0.1)] * 200,
        canary_job=5,
        served_job=5,
        right=45,
        asked=50,
        file_sha256="ab",
        is_file_in_store=True,
        lineage=(*STEPS, SERVED),
        took_s=60.0,
    )
    return replace(findings, **changes)  # type: ignore[arg-type]


def test_all_bars_hold() -> None:
    report = make_report(met())
    assert (report.ok, report.missing) == (True, ())
    assert (report.requests, report.failed_requests) == (200, 0)


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"refusal": "no such data set"}, "columns named"),
        ({"refused_attempts": 1}, "was started"),
        ({"refused_attempts": None}, "was started"),
        ({"accuracies": {"digits-net@v1": 0.2}}, "became a model"),
        ({"served_job": 4}, "not promoted"),
        ({"requests": [Asked(1.0, 0.1)] * 99}, "too few requests"),
        ({"requests": [Asked(1.0, 0.1, "HTTP 503")] * 100}, "100 requests failed"),
        ({"is_file_in_store": False}, "not in the store"),
        ({"lineage": STEPS}, "lineage"),
        ({"lineage": (*STEPS[1:], SERVED)}, "lineage"),
        ({"lineage": (*STEPS, "service digits job 4, RUNNING")}, "lineage"),
        ({"took_s": 181.0}, "longer than 180 s"),
        ({"trouble": ["you left"]}, "you left"),
        ({"leftovers": ["process 7"]}, "left over: process 7"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_a_bar_that_does_not_hold(changes: dict[str, object], missing: str) -> None:
    report = make_report(met(**changes))
    assert not report.ok
    assert any(missing in text for text in report.missing)


def test_its_files_are_valid(tmp_path: Path) -> None:
    text = plan.PLAN.site_text(Ports(1, 2, 3, 4), tmp_path / "checkpoints", 'others = "keeper"')
    assert parse_site(text, "site.toml").data.store == str(tmp_path / "store")
    training = parse_job(plan.write_training(tmp_path, "t", "digits@v1", 1).read_text(), "t")
    assert (training.data.datasets, training.data.check) == (("digits@v1",), "strict")
    service = parse_job(plan.write_service(tmp_path, "digits-net@v2").read_text(), "s")
    assert (service.name, service.data.datasets) == (plan.SERVICE, ("digits-net@v2",))
