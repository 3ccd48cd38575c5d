"""One run of the demo: set up, run, clean up, report."""

import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import msgspec

from wattline import exits
from wattline.client import Client, WattlineError
from wattline.demo import layout
from wattline.demo.findings import Findings
from wattline.demo.processes import ProgramEnded, adopt_orphans
from wattline.demo.report import DemoReport, Evidence, make_report
from wattline.demo.script import Script
from wattline.demo.stage import CommandFailed, Stage, build_stage
from wattline.demo.starts import double_runs, read_starts
from wattline.demo.steps import Pace, StepFailed
from wattline.demo.truth import BudgetChange, Verdict, domain_seconds, judge
from wattline.demo.watcher import Watcher
from wattline.failures import ActFailed
from wattline_protocol.ids import DomainId
from wattline_sim.truth import read as read_truth

Handler = Callable[[int, FrameType | None], None] | signal.Handlers

EXPECTED = (StepFailed, CommandFailed, ProgramEnded, WattlineError)
"""Errors that may occur in a run; they are reported, and the rest is shown anyway."""


class Demo:
    """One run. `play` may run in a thread; `close` cleans up, `evidence` returns the findings."""

    def __init__(self, root: Path, pace: Pace) -> None:
        self.pace, self.findings = pace, Findings()
        self.stage: Stage = build_stage(root)
        self._watcher: Watcher | None = None

    def open(self) -> None:
        """Start every program of the site."""
        self.pace.say(f"Starting a site of {len(layout.NODES)} nodes in {self.stage.root}.")
        self.pace.say(self.stage.runs_as.text)
        self.stage.start_physics()
        self.stage.start_scheduler()
        for node in layout.NODES:
            self.stage.start_agent(node)
        self.stage.start_gateway()
        self._watcher = Watcher(self.client())

    def client(self) -> Client:
        """A new client of the site, as its operator."""
        return Client(self.stage.bundle(layout.OPERATOR))

    def play(self) -> None:
        """Run the script to its end, or to the first step that fails."""
        if self._watcher is None:
            raise RuntimeError("open the stage before playing on it")
        with self.client() as client:
            script = Script(self.stage, client, self._watcher, self.findings, self.pace)
            try:
                script.run()
            except EXPECTED as error:
                self.findings.trouble.append(str(error))
            try:
                script.gather()
            except EXPECTED as error:
                self.findings.trouble.append(f"the jobs could not be read at the end: {error}")

    def close(self) -> None:
        """Stop every process; any left over is a finding."""
        if self._watcher is not None:
            self._watcher.stop()
        self.findings.leftovers = self.stage.processes.stop_all()

    def evidence(self) -> Evidence:
        """The findings, judged by the simulator's and the tasks' own records."""
        notes = read_starts(self.stage.starts)
        self.findings.starts = sum(note.what == "start" for note in notes)
        self.findings.double_runs = double_runs(notes)
        self.findings.took_s = self.pace.elapsed_s
        domains = self._watcher.domains if self._watcher is not None else {}
        truth = {name: self._verdict(name, watch.full_budget_w) for name, watch in domains.items()}
        return Evidence(self.findings, domains, truth)

    def _verdict(self, domain: DomainId, full_w: float) -> Verdict:
        samples = {name: list(read_truth(node.path)) for name, node in self.stage.nodes.items()}
        seconds_w = domain_seconds(samples, layout.members(domain))
        return judge(seconds_w, self._budget(domain, full_w))

    def _budget(self, domain: DomainId, full_w: float) -> list[BudgetChange]:
        changes = [BudgetChange(0.0, full_w)]
        if domain == layout.ROOT_DOMAIN and self.findings.shed_mono_s is not None:
            lowered_w = full_w * (1 - layout.SHED_FRACTION)
            changes.append(BudgetChange(self.findings.shed_mono_s, lowered_w))
            if self.findings.restored_mono_s is not None:
                changes.append(BudgetChange(self.findings.restored_mono_s, full_w))
        return changes


def run_demo(*, with_terminal: bool, json_file: Path | None, keep: Path | None) -> int:
    """Returns the exit code: 0 only if everything succeeded."""
    adopt_orphans()
    with _signals_as_interrupts(), _root(keep) as root:
        evidence = _play_in_terminal(root) if with_terminal else _play_headless(root)
        report = make_report(evidence)
    _publish(report, evidence, json_file)
    return exits.OK if report.ok else exits.FAILED


def _play_headless(root: Path) -> Evidence:
    from rich.console import Console

    console = Console(stderr=True)

    def show(elapsed_s: float, text: str) -> None:
        console.print(f"[dim]{elapsed_s:6.1f} s[/]  {text}", highlight=False, soft_wrap=True)

    demo = Demo(root, Pace(show))
    try:
        demo.open()
        demo.play()
    finally:
        with _undisturbed():
            demo.close()
    return demo.evidence()


def _play_in_terminal(root: Path) -> Evidence:
    """Run the terminal over the site; the end of either ends the other."""
    from wattline_tui.app import TopApp
    from wattline_tui.client import ClientFeed

    pace = Pace(lambda _elapsed_s, _text: None)
    demo = Demo(root, pace)
    print(demo.stage.runs_as.text, file=sys.stderr)
    player = threading.Thread(target=demo.play, name="script")
    try:
        demo.open()
        app = TopApp(ClientFeed(demo.client()))

        def play() -> None:
            demo.play()
            if app.is_running:
                app.call_from_thread(app.exit)

        player = threading.Thread(target=play, name="script")
        player.start()
        app.run()
    finally:
        pace.leave()
        with _undisturbed():
            if player.is_alive():
                player.join()
            demo.close()
    return demo.evidence()


@contextmanager
def _root(keep: Path | None) -> Iterator[Path]:
    """A temporary folder: removed at the end, unless it is `keep`."""
    if keep is not None:
        if keep.exists() and any(keep.iterdir()):
            raise ActFailed(
                f"{keep} is not empty; the demo requires an empty directory", exits.USAGE
            )
        yield keep.resolve()
        return
    folder = Path(tempfile.mkdtemp(prefix="wattline-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def _signals_as_interrupts() -> Iterator[None]:
    """Make SIGTERM and a closed terminal end the demo as Ctrl-C does: with a full clean-up."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handled(interrupt, signal.SIGTERM, signal.SIGHUP):
        yield


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Complete the clean-up, however often Ctrl-C is pressed; it is bounded in time."""
    with _handled(signal.SIG_IGN, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        yield


@contextmanager
def _handled(how: Handler, *numbers: signal.Signals) -> Iterator[None]:
    before = {number: signal.signal(number, how) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _publish(report: DemoReport, evidence: Evidence, json_file: Path | None) -> None:
    from wattline.demo.text import render
    from wattline.show import screen

    screen.put(render(report, evidence))
    if json_file is not None:
        data = msgspec.json.format(msgspec.json.encode(report), indent=2)
        json_file.write_bytes(data + b"\n")
        print(f"Report written to {json_file}.", file=sys.stderr)
