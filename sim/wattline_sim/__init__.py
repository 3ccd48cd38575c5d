"""Simulated hardware below the NVML ABI and the sysfs root: GPUs, nodes, facility and fleet."""
