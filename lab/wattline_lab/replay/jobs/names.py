"""Names of policies, for the table of verbs, which loads nothing heavy."""

POLICY_NAMES = ("fifo", "backfill", "srtf", "srsf", "tiresias", "wattline", "wattline-progress")
