"""Whether a job may run on this site at all, and on which resources."""
