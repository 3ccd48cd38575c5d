"""What is to be replayed."""

from dataclasses import dataclass
from pathlib import Path

from wattline_lab.replay.fleet.names import COPIES, DAYS


@dataclass(frozen=True, slots=True)
class Ask:
    """A fleet, its work, and how it is run."""

    nodes: Path
    jobs: Path
    policy: str
    budget: float
    """Share of the sum of TDP."""
    admission: str = ""
    """Empty: knee for wattline, tdp for the others."""
    copies: int = COPIES
    days: float = DAYS
    seed: int = 1

    @property
    def counted(self) -> str:
        """What is found for work before it starts: its GPUs' tdp, or what it must keep (knee)."""
        return self.admission or ("knee" if self.policy == "wattline" else "tdp")
