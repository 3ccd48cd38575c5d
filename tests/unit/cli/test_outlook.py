"""What would happen with fewer watts, as the command line shows it."""

from typing import cast

import pytest
from rich.console import Console

from wattline.acts.power import whatif
from wattline.client import Client
from wattline.failures import ActFailed
from wattline.show.power import outlook
from wattline_protocol.ids import DomainId, JobId, NodeId
from wattline_protocol.views.power_views import JobOutlook, PowerOutlook


def view(*jobs: JobOutlook, **changes: object) -> PowerOutlook:
    fields: dict[str, object] = {
        "domain": DomainId("rack-r2"), "fails": False, "budget_w": 12_000.0, "then_w": 9_000.0,
        "short_w": 0.0, "nodes": (), "node_count": 0, "lost": 0, "paused": 0, "slowed": 0,
        "jobs": jobs,
    }  # fmt: skip
    return PowerOutlook(**{**fields, **changes})  # type: ignore[arg-type]  # tests choose the fields


def shown(of: PowerOutlook) -> list[str]:
    console = Console(width=100, record=True, file=None, force_terminal=False)
    with console.capture() as captured:
        console.print(outlook(of))
    return captured.get().splitlines()


@pytest.mark.parametrize(
    ("less", "fails", "right"), [(None, False, "--less 25%"), ("3kW", True, "--less 3kW")]
)
def test_what_the_domain_loses_is_given_once(less: str | None, fails: bool, right: str) -> None:
    with pytest.raises(ActFailed) as refused:
        whatif(cast("Client", None), domain="feed", less=less, fails=fails)
    commands = f"`wattline power whatif feed {right}` or `wattline power whatif feed --fails`"
    assert commands in str(refused.value)


def test_sentences_then_the_jobs() -> None:
    jobs = (
        JobOutlook(JobId(8), "sweep", "ada", 25, 4, "paused", 0.9, 0.0),
        JobOutlook(JobId(7), "llm", "bob", 50, 8, "slowed", 1.0, 0.734),
    )
    lines = shown(view(*jobs, paused=1, slowed=1))
    assert lines[0] == ("If rack-r2 has 3 kW less (12 kW now, then 9 kW), with the current demand:")
    assert lines[1:3] == ["1 job paused", "1 job slowed"]
    assert lines[5].split() == ["8", "sweep", "ada", "25", "4", "paused", "90%", "→", "0%"]
    assert lines[6].rstrip().endswith("100% → 73%")


def test_a_failure_names_the_nodes_and_what_cannot_be_met() -> None:
    nodes = (NodeId("n1"), NodeId("n2"))
    lines = shown(view(fails=True, then_w=0.0, nodes=nodes, node_count=9, lost=3, short_w=1_234.0))
    assert lines[0].startswith("If rack-r2 fails (12 kW now, then 0 W)")
    assert lines[1:] == [
        "9 nodes without power: n1, n2 and 7 more",
        "3 jobs ended on lost nodes",
        "no job slowed",
        "1.24 kW above the budget remain: hosts would have to be switched off",
    ]
