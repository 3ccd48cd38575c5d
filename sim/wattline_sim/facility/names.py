"""Names of scenarios, policies and GPU classes: light to import, for the command line."""

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
GPU_CLASSES = ("h100", "a100", "l40s", "b200", "a40", "v100")
