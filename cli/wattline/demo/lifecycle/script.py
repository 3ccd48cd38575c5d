"""The steps of the lifecycle, in order. Each waits for facts."""

import hashlib
from functools import partial
from pathlib import Path
from typing import get_args

from wattline.client import Client
from wattline.data.lineage import lineage
from wattline.demo.burst.load import Clients
from wattline.demo.lifecycle import plan
from wattline.demo.lifecycle.findings import LifecycleFindings
from wattline.demo.load import Image, ServiceClient, held_out_images
from wattline.demo.stage import Stage
from wattline.demo.stage_script import StageScript
from wattline.demo.steps import Pace, StepFailed
from wattline_protocol.data.references import version_text
from wattline_protocol.data.requests import OriginKind
from wattline_protocol.views.site_views import ENDED_STATES, JobView

CHECKED_IMAGES = 50
ORDER: tuple[OriginKind, ...] = get_args(OriginKind)
"""A run reads data and leaves a checkpoint."""


class LifecycleScript(StageScript):
    """The steps over a stage whose programs have been started."""

    def __init__(
        self, stage: Stage, client: Client, findings: LifecycleFindings, pace: Pace
    ) -> None:
        super().__init__(stage, client, pace)
        self._findings = findings

    def run(self) -> None:
        """All steps. Raises StepFailed, CommandFailed or ProgramEnded at the first that fails."""
        self._pace.say("Waiting for the agent.")
        self._until("the agent is heard", self._is_heard)
        file = self._add_data()
        self._train_on_drifted()
        self._train()
        images = held_out_images()
        key = self._serve_first(images)
        self._roll_out(key, images)
        self._ask(key, images)
        self._trace(file)

    # --- the steps --------------------------------------------------------------------------

    def _add_data(self) -> Path:
        """Two versions; the first is approved. The file of that one."""
        for number, inverted in ((1, 0), (2, plan.INVERTED)):
            folder = plan.write_data(self._stage.root / f"data-v{number}", inverted)
            self._stage.run("data", "add", plan.DATA, str(folder))
            self._pace.say(f"{version_text(plan.DATA, number)} added.")
            if number == 1:
                self._stage.run("data", "approve", version_text(plan.DATA, 1))
        drifted = self._client.data_version(version_text(plan.DATA, 2)).version
        if drifted.verdict is None or drifted.verdict.ok:
            raise StepFailed(f"{drifted.reference} passed its check")
        self._findings.columns = tuple(dict.fromkeys(one.name for one in drifted.verdict.findings))
        self._pace.say(f"{drifted.reference} breaks rules: {drifted.verdict.text}")
        return next((self._stage.root / "data-v1").iterdir())

    def _train_on_drifted(self) -> None:
        version = version_text(plan.DATA, 2)
        file = plan.write_training(self._stage.root, "on-drifted", version, plan.EPOCHS["quick"])
        job = self._submit(file)
        failed = self._until("the job on drifted data fails", partial(self._ended, job))
        self._findings.refusal = failed.reason
        self._findings.refused_attempts = len(failed.attempts)
        self._pace.say(f"{failed.state}: {failed.reason}")

    def _train(self) -> None:
        """Both at a time; each becomes a version of the model."""
        version = version_text(plan.DATA, 1)
        jobs = {
            name: self._submit(plan.write_training(self._stage.root, name, version, epochs))
            for name, epochs in plan.EPOCHS.items()
        }
        for number, (name, job) in enumerate(jobs.items(), 1):
            ended = self._until(f"the training {name} ends", partial(self._ended, job))
            if ended.state != "COMPLETED":
                raise StepFailed(f"the training {name} is {ended.state}: {ended.reason}")
            self._stage.run("data", "add", plan.MODEL, "--model", "--from-run", str(job))
            model = version_text(plan.MODEL, number)
            accuracy = ended.attempts[-1].metrics.get("accuracy", 0.0)
            self._findings.accuracies[model] = accuracy
            self._pace.say(f"{model} of job {job} published, accuracy {accuracy:.1%}.")

    def _serve_first(self, images: list[Image]) -> str:
        """The service with the first model, which answers. The key of its clients."""
        self._submit(plan.write_service(self._stage.root, version_text(plan.MODEL, 1)))
        key = self._serve(plan.SERVICE, images[0])
        self._pace.say(f"{version_text(plan.MODEL, 1)} is served.")
        return key

    def _roll_out(self, key: str, images: list[Image]) -> None:
        """The second model on trial, then promoted, under load."""
        clients = Clients(self._stage.http_address, plan.SERVICE, key, images)
        try:
            clients.set_rate(plan.RATE_PER_S)
            file = plan.write_service(self._stage.root, version_text(plan.MODEL, 2))
            self._stage.run("rollout", plan.SERVICE, str(file), "--canary", plan.CANARY)
            self._pace.say(f"{version_text(plan.MODEL, 2)} gets {plan.CANARY} of the requests.")
            self._until("the canary passes its check", partial(self._phase, "waiting"))
            self._findings.canary_job = self._client.rollout(plan.SERVICE).new.job
            self._stage.run("rollout", plan.SERVICE, "promote")
            self._until("the promoted revision serves alone", partial(self._phase, "done"))
            self._findings.served_job = self._client.service(plan.SERVICE).revision
        finally:
            clients.stop()
            self._findings.requests = clients.done()
        self._pace.say(f"Promoted; {len(self._findings.requests)} requests meanwhile.")

    def _ask(self, key: str, images: list[Image]) -> None:
        client = ServiceClient(self._stage.http_address, plan.SERVICE, key)
        for image in images[:CHECKED_IMAGES]:
            self._findings.right += client.digit(image) == image.digit
            self._findings.asked += 1
        client.close()

    def _trace(self, file: Path) -> None:
        """From the file to the job whose answers were checked."""
        findings = self._findings
        findings.file_sha256 = digest = hashlib.sha256(file.read_bytes()).hexdigest()
        findings.is_file_in_store = (self._stage.store / "objects" / digest[:2] / digest).is_file()
        model = version_text(plan.MODEL, 2)
        found = lineage(self._client, of=model)
        before = sorted(found.made_from, key=lambda one: ORDER.index(one.kind))
        steps = ("file", file.name, digest), *((one.kind, one.name, "") for one in before)
        uses = ((one.kind, one.name, one.detail) for one in found.used_by)
        findings.lineage = tuple(
            " ".join(filter(None, step)) for step in (*steps, ("data", model, ""), *uses)
        )
        findings.lineage_text = self._stage.run("data", "lineage", model)

    # --- observing --------------------------------------------------------------------------

    def _ended(self, job: int) -> JobView | None:
        view = self._client.job(job)
        return view if view.state in ENDED_STATES else None

    def _phase(self, wanted: str) -> bool:
        view = self._client.rollout(plan.SERVICE)
        if view.phase == "back":
            raise StepFailed(f"the rollout went back: {view.text}")
        return view.phase == wanted
