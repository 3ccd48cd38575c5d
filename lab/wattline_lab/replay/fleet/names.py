"""Names of policies and usual sizes, for the table of verbs, which loads nothing heavy."""

FLEET_POLICY_NAMES = ("fifo", "backfill", "wattline")
ADMISSIONS = ("tdp", "knee")
COPIES, DAYS = 8, 4.0
