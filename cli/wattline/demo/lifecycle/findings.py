"""Findings of the lifecycle while it runs; the source of its report."""

from dataclasses import dataclass, field

from wattline.demo.burst.load import Asked
from wattline.demo.findings import Outcome


@dataclass(slots=True)
class LifecycleFindings(Outcome):
    """None or empty until they are established."""

    columns: tuple[str, ...] = ()
    """That the check of v2 names."""
    refusal: str = ""
    """Of the job on v2."""
    refused_attempts: int | None = None
    """Tries of that job: each would have taken GPUs."""
    accuracies: dict[str, float] = field(default_factory=dict)
    """Of each version of the model, at the end of its training."""
    requests: list[Asked] = field(default_factory=list)
    """Sent from the rollout's beginning to its end."""
    canary_job: int | None = None
    served_job: int | None = None
    """The service's job after the promotion."""
    right: int = 0
    asked: int = 0
    """Held-out images that the promoted model was asked, and how many it knew."""
    file_sha256: str = ""
    """Of the file that the model was trained on."""
    is_file_in_store: bool = False
    lineage: tuple[str, ...] = ()
    """Kind and name of each step, from the file to the service that answers."""
    lineage_text: str = ""
