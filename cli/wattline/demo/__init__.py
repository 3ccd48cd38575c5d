"""The demo: a whole site of real processes with real work, faults included, and its report."""
