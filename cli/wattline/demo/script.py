"""The steps of the demo, in order. Each waits for facts, never for a time alone."""

from collections.abc import Callable

from wattline.client import Client
from wattline.demo import layout, work
from wattline.demo.faults import kill_agent, kill_scheduler
from wattline.demo.findings import Findings
from wattline.demo.load import held_out_images, run_load
from wattline.demo.stage import Stage
from wattline.demo.stage_script import StageScript
from wattline.demo.steps import Pace, StepFailed
from wattline.demo.watcher import Watcher
from wattline_protocol.views.site_views import ENDED_STATES, EventView, JobView, SiteView

SHED_HOLD_S = 6.0
"""How long the lowered budget stays in force: several seconds of the simulator's record."""

EPOCHS_AT_MOST = 6
"""The faults begin now, hot or not, or training might be over before they do."""


class Script(StageScript):
    """The steps over a stage whose programs have been started."""

    def __init__(
        self, stage: Stage, client: Client, watcher: Watcher, findings: Findings, pace: Pace
    ) -> None:
        super().__init__(stage, client, pace)
        self._watcher, self._findings = watcher, findings

    def run(self) -> None:
        """All steps. Raises StepFailed, CommandFailed or ProgramEnded at the first that fails."""
        self._wait_for_nodes()
        self._submit_training_and_sweep()
        self._wait_under_way()
        self._shed_and_restore()
        kill_agent(self._stage, self._client, self._findings, self._pace)
        kill_scheduler(self._stage, self._client, self._watcher, self._findings, self._pace)
        self._wait_ended(work.TRAINING)
        self._load_service()
        self._wait_ended(work.SWEEP)

    def gather(self) -> None:
        """Fetch the current jobs and events."""
        for number in self._findings.jobs.values():
            self._findings.views[number] = self._client.job(number)
        self._findings.events = list(self._client.events(after=0))

    # --- the steps --------------------------------------------------------------------------

    def _wait_for_nodes(self) -> None:
        self._pace.say("Waiting for the four agents.")
        self._see("all agents heard", lambda view: all(n.state == "ok" for n in view.nodes))

    def _submit_training_and_sweep(self) -> None:
        root, starts = self._stage.root, self._stage.starts
        jobs = self._findings.jobs
        jobs[work.TRAINING] = self._submit(work.write_training(root, starts))
        jobs[work.SWEEP] = self._submit(work.write_sweep(root, starts))

    def _wait_under_way(self) -> None:
        self._pace.say("Waiting until training and sweep draw more than the lowered budget allows.")
        self._see("training and sweep under way", self._is_under_way)
        training = self._client.job(self._findings.jobs[work.TRAINING])
        if training.state in ENDED_STATES:
            raise StepFailed(f"{work.TRAINING} ended before its time: {training.reason}")

    def _is_under_way(self, view: SiteView) -> bool:
        training = _job(view, self._findings.jobs[work.TRAINING])
        if training is None:
            return False
        root = next(d for d in view.domains if d.id == layout.ROOT_DOMAIN)
        measured_w = sum(node.measured_w or 0.0 for node in view.nodes)
        is_hot = measured_w > root.full_budget_w * (1 - layout.SHED_FRACTION)
        is_far = training.metrics.get("epoch", 0) >= EPOCHS_AT_MOST
        is_running = training.state == "RUNNING" and training.gangs_running == 1
        return training.state in ENDED_STATES or (is_running and (is_hot or is_far))

    def _shed_and_restore(self) -> None:
        percent = f"{layout.SHED_FRACTION:.0%}"
        self._pace.say(f"Shedding {percent} of the site's budget.")
        after = self._last_event()
        self._stage.run("power", "shed", percent, "--reason", "demo: the grid asks")
        shed = self._event("budget_shed", after)
        met = self._event("budget_met", shed.seq)
        self._findings.shed_mono_s = self._pace.mono_s(shed.unix_s)
        self._findings.shed_acknowledged_s = met.unix_s - shed.unix_s
        self._pace.say(f"All caps acknowledged {met.unix_s - shed.unix_s:.2f} s after the shed.")
        self._pace.rest(SHED_HOLD_S)
        self._stage.run("power", "restore", "--reason", "demo: the grid is well again")
        restored = self._event("budget_restored", met.seq)
        self._findings.restored_mono_s = self._pace.mono_s(restored.unix_s)
        self._pace.say("Budget restored.")

    def _load_service(self) -> None:
        trained = self._trained()
        if trained is None:
            raise StepFailed(f"the training job left no checkpoint in {self._stage.checkpoints}")
        file = work.write_service(self._stage.root, self._stage.starts, trained)
        self._findings.jobs[work.SERVICE] = self._submit(file)
        images = held_out_images()
        key = self._serve(work.SERVICE, images[0])
        self._wait_replicas()
        self._pace.say("The service answers; sending requests.")
        self._findings.load = run_load(self._stage.http_address, work.SERVICE, key, images)
        self._stage.run("cancel", str(self._findings.jobs[work.SERVICE]))
        self._wait_ended(work.SERVICE)

    def _wait_replicas(self) -> None:
        number = self._findings.jobs[work.SERVICE]

        def both(view: SiteView) -> bool:
            job = _job(view, number)
            return job is not None and job.gangs_running >= work.REPLICAS

        self._see("both replicas running", both)

    def _wait_ended(self, name: str) -> None:
        number = self._findings.jobs[name]
        self._pace.say(f"Waiting for the end of {name}.")

        def ended(view: SiteView) -> bool:
            job = _job(view, number)
            return job is not None and job.state in ENDED_STATES

        self._see(f"end of {name}", ended)

    # --- observing --------------------------------------------------------------------------

    def _see(self, what: str, holds: Callable[[SiteView], bool]) -> None:
        while not self._pace.is_over():
            self._stage.processes.check()
            if self._watcher.wait_for(holds, 0.5) is not None:
                return
            if self._watcher.failure is not None:
                raise StepFailed(f"the site cannot be watched: {self._watcher.failure}")
        raise StepFailed(f"{self._pace.why()} before this was seen: {what}")

    def _last_event(self) -> int:
        events = self._client.site().events
        return events[-1].seq if events else 0

    def _event(self, kind: str, after: int) -> EventView:
        def found() -> EventView | None:
            events = self._client.events(after=after)
            return next((event for event in events if event.kind == kind), None)

        return self._until(f"the event {kind}", found)


def _job(view: SiteView, number: int) -> JobView | None:
    return next((job for job in view.jobs if job.id == number), None)
