"""Records of runs: built from a job and what its node recorded, compared, exported, shown."""
