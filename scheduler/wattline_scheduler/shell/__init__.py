"""The scheduler's shell: sockets, clock and store around the core; it executes effects."""

from wattline_scheduler.shell.config import SchedulerConfig
from wattline_scheduler.shell.run import run_scheduler

__all__ = ["SchedulerConfig", "run_scheduler"]
