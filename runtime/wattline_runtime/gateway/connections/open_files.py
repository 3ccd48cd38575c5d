"""Open files of the process: its own are never taken by connections of clients."""

import resource

import structlog

log = structlog.get_logger()

OWN_FILES = 1024
"""For workers, the scheduler, logs and batches; half of a limit that is too low for both."""


def raise_limit(connections: int) -> int:
    """Raise the limit of open files for so many connections of clients; how many it allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + OWN_FILES
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    allowed = min(connections, for_clients(soft))
    if allowed < connections:
        how = f"the limit of open files is {soft}; {wanted} are needed (LimitNOFILE, ulimit -n)"
        log.warning("few_open_files", connections=allowed, detail=how)
    return allowed


def for_clients(limit: int) -> int:
    """Connections of clients that a limit of open files allows."""
    return max(1, limit - min(OWN_FILES, limit // 2))
