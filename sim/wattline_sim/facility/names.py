"""Names of scenarios and policies: light to import, for the command line's table."""

SCENARIO_NAMES = (
    "mixed",
    "all-hot",
    "burst",
    "inference-row",
    "feed-loss",
    "feed-a-lost",
    "crah-loss",
    "heatwave",
    "shed-25",
    "scheduler-down",
    "partition",
    "lossy",
    "meter-frozen",
    "gpu-overshoot",
)
POLICY_NAMES = ("wattline", "static", "threshold")
