"""What the scripts of all demos do: submit jobs, and wait for facts rather than for a time."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from wattline.client import Client
from wattline.demo.load import Image, wait_ready
from wattline.demo.stage import Stage
from wattline.demo.steps import Pace, StepFailed
from wattline.task.manifest import MANIFEST

T = TypeVar("T")

LOOK_S = 0.1


class StageScript:
    """Steps over a stage whose programs have been started."""

    def __init__(self, stage: Stage, client: Client, pace: Pace) -> None:
        self._stage, self._client, self._pace = stage, client, pace

    def _until(self, what: str, probe: Callable[[], T | None]) -> T:
        """The first thing that is found; False counts as nothing. Raises StepFailed."""
        while not self._pace.is_over():
            self._stage.processes.check()
            found = probe()
            if found is not None and found is not False:
                return found
            self._pace.rest(LOOK_S)
        raise StepFailed(f"{self._pace.why()} before this was seen: {what}")

    def _submit(self, file: Path) -> int:
        """The number of the job."""
        number = int(self._stage.run("submit", str(file), "--quiet"))
        self._pace.say(f"Submitted {file.name} as job {number}.")
        return number

    def _serve(self, service: str, image: Image) -> str:
        """The key of clients of a service, once it answers. Raises StepFailed."""
        key = self._stage.run("key", "add", "demo", "--service", service).strip()
        address, is_over = self._stage.http_address, self._pace.is_over
        problem = wait_ready(address, service, key, image, is_over)
        if problem is not None:
            raise StepFailed(f"the service was not ready in time; its last answer: {problem}")
        return key

    def _is_heard(self) -> bool:
        """Whether the scheduler has heard all agents."""
        return all(node.state == "ok" for node in self._client.nodes())

    def _trained(self) -> Path | None:
        """Directory of checkpoints, wherever the agents put it; None = there is none yet."""
        manifests = sorted(self._stage.checkpoints.rglob(MANIFEST))
        return manifests[-1].parents[1] if manifests else None
