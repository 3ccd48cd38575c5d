"""The demo of a lifecycle."""

from pathlib import Path
from typing import TYPE_CHECKING

from wattline.client import Client
from wattline.demo.lifecycle import plan
from wattline.demo.lifecycle.findings import LifecycleFindings
from wattline.demo.lifecycle.script import LifecycleScript
from wattline.demo.play import Demo, Report
from wattline.demo.steps import Pace

if TYPE_CHECKING:
    from rich.console import RenderableType


class Lifecycle(Demo):
    """From data over a model to answers, and back."""

    plan = plan.PLAN

    def __init__(self, root: Path, pace: Pace) -> None:
        super().__init__(root, pace)
        self.outcome = self.findings = LifecycleFindings()

    def steps(self, client: Client) -> None:
        LifecycleScript(self.stage, client, self.findings, self.pace).run()

    def gather(self, client: Client) -> None:
        """The steps have read it all."""

    def judged(self) -> "tuple[Report, RenderableType]":
        from wattline.demo.lifecycle.report import make_report, render

        report = make_report(self.findings)
        return report, render(report, self.findings.lineage_text)
