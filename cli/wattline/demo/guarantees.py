"""The demo of the guarantees: real work, a shed, killed programs, a trained model served."""

from pathlib import Path
from typing import TYPE_CHECKING

from wattline.client import Client
from wattline.demo import layout
from wattline.demo.findings import Findings
from wattline.demo.play import Demo
from wattline.demo.report import DemoReport, Evidence, make_report
from wattline.demo.script import Script
from wattline.demo.starts import double_runs, read_starts
from wattline.demo.steps import Pace
from wattline.demo.truth import BudgetChange, Verdict, domain_seconds, judge
from wattline_protocol.ids import DomainId
from wattline_sim.truth import read as read_truth

if TYPE_CHECKING:
    from rich.console import RenderableType


class Guarantees(Demo):
    """What `docs/demo.md` lists."""

    plan = layout.PLAN

    def __init__(self, root: Path, pace: Pace) -> None:
        super().__init__(root, pace)
        self.outcome = self.findings = Findings()

    def steps(self, client: Client) -> None:
        self._script(client).run()

    def gather(self, client: Client) -> None:
        self._script(client).gather()

    def judged(self) -> "tuple[DemoReport, RenderableType]":
        from wattline.demo.text import render

        evidence = self._evidence()
        report = make_report(evidence)
        return report, render(report, evidence)

    def _script(self, client: Client) -> Script:
        return Script(self.stage, client, self.watching(), self.findings, self.pace)

    def _evidence(self) -> Evidence:
        """The findings, judged by the simulator's and the tasks' own records."""
        notes = read_starts(self.stage.starts)
        self.findings.starts = sum(note.what == "start" for note in notes)
        self.findings.double_runs = double_runs(notes)
        domains = self.watcher.domains if self.watcher is not None else {}
        truth = {name: self._verdict(name, watch.full_budget_w) for name, watch in domains.items()}
        return Evidence(self.findings, domains, truth)

    def _verdict(self, domain: DomainId, full_w: float) -> Verdict:
        samples = {name: list(read_truth(node.path)) for name, node in self.stage.nodes.items()}
        seconds_w = domain_seconds(samples, self.plan.members(domain))
        return judge(seconds_w, self._budget(domain, full_w))

    def _budget(self, domain: DomainId, full_w: float) -> list[BudgetChange]:
        changes = [BudgetChange(0.0, full_w)]
        if domain == layout.ROOT_DOMAIN and self.findings.shed_mono_s is not None:
            lowered_w = full_w * (1 - layout.SHED_FRACTION)
            changes.append(BudgetChange(self.findings.shed_mono_s, lowered_w))
            if self.findings.restored_mono_s is not None:
                changes.append(BudgetChange(self.findings.restored_mono_s, full_w))
        return changes
