"""The phases of a job, from planning to its end."""
