"""Names of policies, for the table of verbs, which loads nothing heavy."""

POLICY_NAMES = (
    "fifo",
    "backfill",
    "srtf",
    "srsf",
    "tiresias",
    "wattline",
    "learned",
    "learned-preemptive",
    "learned-preemptive-progress",
)
"""As in the literature; `wattline` is what the scheduler runs."""
