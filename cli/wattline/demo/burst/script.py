"""The steps of the burst, in order. Each waits for facts; the two loads for their time, too."""

import re
import time
from pathlib import Path

from wattline import task
from wattline.client import Client
from wattline.demo.burst import plan
from wattline.demo.burst.caps import CapWatch, raised
from wattline.demo.burst.findings import BurstFindings
from wattline.demo.burst.load import Clients
from wattline.demo.load import held_out_images
from wattline.demo.stage import Stage
from wattline.demo.stage_script import StageScript
from wattline.demo.steps import Pace, StepFailed
from wattline_protocol.views.site_views import AttemptView

NOT_LEARNED = "not known"
"""In the reason of the number of replicas, while the scheduler measures what a replica does."""
CONTINUES = re.compile(r"going on from epoch (\d+)")
"""What the training program prints when it has loaded a checkpoint."""


class BurstScript(StageScript):
    """The steps over a stage whose programs have been started."""

    def __init__(self, stage: Stage, client: Client, findings: BurstFindings, pace: Pace) -> None:
        super().__init__(stage, client, pace)
        self._findings = findings
        self._training = self._service = 0
        self._checkpoints = Path()

    def run(self, steady_s: float, burst_s: float) -> None:
        """All steps, with so much of either load. Raises StepFailed, CommandFailed or ProgramEnded
        at the first that fails."""
        self._train()
        clients = self._start_service()
        caps = CapWatch(self._stage.nodes[plan.NODE])
        try:
            self._settle(clients, caps, steady_s)
            self._burst(clients, caps, burst_s)
            self._give_back()
        finally:
            caps.stop()
            clients.stop()
            self._findings.requests = clients.done()

    # --- the steps --------------------------------------------------------------------------

    def _train(self) -> None:
        self._pace.say("Waiting for the agent.")
        self._until("the agent is heard", self._is_heard)
        self._training = self._submit(plan.write_training(self._stage.root))
        self._checkpoints = self._until("the first checkpoint of the training", self._trained)

    def _start_service(self) -> Clients:
        """The service with one replica, which answers; its clients send nothing yet."""
        file = plan.write_service(self._stage.root, self._checkpoints)
        self._service = self._submit(file)
        images = held_out_images()
        key = self._serve(plan.SERVICE, images[0])
        return Clients(self._stage.http_address, plan.SERVICE, key, images)

    def _settle(self, clients: Clients, caps: CapWatch, steady_s: float) -> None:
        """The scheduler measures what a replica does, at a peak, then at the steady load; its caps
        fall to what that needs."""
        clients.set_rate(plan.FIRST_RATE)
        self._until("the first requests are answered", lambda: len(clients.done()) >= plan.FIRST)
        clients.set_rate(plan.PEAK_RATE)
        self._pace.say(f"{plan.PEAK_RATE:g} requests/s; the scheduler measures the replica.")
        self._pace.rest(plan.PEAK_S)
        clients.set_rate(plan.STEADY_RATE)
        self._pace.say(f"{plan.STEADY_RATE:g} requests/s.")
        self._until("the work rate of a replica is measured", self._has_learned)
        self._findings.steady_s = time.monotonic()
        self._pace.rest(steady_s)
        [first] = self._live(self._service)
        self._until(
            f"the caps of the replica below {plan.STEADY_CAP_W:g} W",
            lambda: caps.highest_w(first.gpus) < plan.STEADY_CAP_W,
        )
        if self._scaled() is not None:
            raise StepFailed(f"before the load rose: {self._findings.why}")

    def _burst(self, clients: Clients, caps: CapWatch, burst_s: float) -> None:
        findings = self._findings
        [first] = self._live(self._service)
        step_s = findings.step_s = clients.set_rate(plan.BURST_RATE)
        self._pace.say(f"{plan.BURST_RATE:g} requests/s.")
        findings.decided_s = self._until("more replicas are wanted", self._scaled)
        self._pace.say(findings.why)
        findings.started_s = self._until("the second replica is started", self._second_started)
        self._pace.say(f"Second replica started {findings.started_s - step_s:.1f} s after.")
        self._until("both replicas take requests", self._both_ready)
        findings.ready_s = time.monotonic()
        self._pace.say("Both replicas take requests.")
        self._pace.rest(step_s + burst_s - time.monotonic())
        findings.end_s = clients.set_rate(plan.STEADY_RATE)
        findings.caps = raised(caps.changes(), first.gpus, step_s, findings.end_s)

    def _give_back(self) -> None:
        """By an operator's command: by itself the second replica stays for the cool-down."""
        found, step_s = self._findings.training, self._findings.step_s or 0.0
        first = self._attempts(self._training)[0]
        if first.ended_unix_s is not None:
            found.preempted_s = self._pace.mono_s(first.ended_unix_s) - step_s
        found.reached_epoch = int(first.metrics.get("epoch", 0))
        found.saved_epoch = self._saved_epoch()
        back_s = time.monotonic()
        self._stage.run("update", str(self._service), "--replicas", "1")
        self._pace.say("The burst is over; the service gives its second replica back.")
        second = self._until("the training resumes", self._resumed)
        if second.started_unix_s is not None:
            found.resumed_s = self._pace.mono_s(second.started_unix_s) - back_s
        found.resumed_epoch = self._until("the training has loaded its checkpoint", self._continued)
        self._pace.say(f"Training resumed from epoch {found.resumed_epoch}.")
        found.later_epoch = self._until("a later checkpoint", self._later_epoch)

    # --- observing --------------------------------------------------------------------------

    def _attempts(self, job: int) -> list[AttemptView]:
        """In order of their number."""
        return sorted(self._client.job(job).attempts, key=lambda one: one.attempt)

    def _live(self, job: int) -> list[AttemptView]:
        """Running attempts, by task."""
        running = (one for one in self._client.job(job).attempts if one.state == "RUNNING")
        return sorted(running, key=lambda one: one.task)

    def _has_learned(self) -> bool:
        why = self._client.service(plan.SERVICE).replicas.why
        return bool(why) and NOT_LEARNED not in why

    def _scaled(self) -> float | None:
        """When the scheduler decided on more replicas."""
        for event in self._client.events(after=0):
            if event.kind == "service_scaled":
                self._findings.why = event.text
                return self._pace.mono_s(event.unix_s)
        return None

    def _second_started(self) -> float | None:
        """Start of its process, as its agent has reported it."""
        for attempt in self._live(self._service):
            if attempt.task > 0 and attempt.pid is not None and attempt.started_unix_s is not None:
                return self._pace.mono_s(attempt.started_unix_s)
        return None

    def _both_ready(self) -> bool:
        return self._client.service(plan.SERVICE).replicas.ready > 1

    def _saved_epoch(self) -> int | None:
        found = task.latest(self._checkpoints)
        return None if found is None else found.step

    def _resumed(self) -> AttemptView | None:
        attempts = self._attempts(self._training)
        return attempts[-1] if attempts[-1].attempt > 1 and attempts[-1].pid else None

    def _continued(self) -> int | None:
        log = b"".join(piece.data for piece in self._client.log(self._training, attempt=2))
        found = CONTINUES.search(log.decode(errors="replace"))
        return None if found is None else int(found[1])

    def _later_epoch(self) -> int | None:
        saved, before = self._saved_epoch(), self._findings.training.resumed_epoch
        return saved if saved is not None and before is not None and saved > before else None
