"""Ends of attempts that never had a program."""

import errno

import pytest

from wattline_agent.executor.attempt_log import unstarted


@pytest.mark.parametrize(
    ("error", "kind", "detail"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/x/1"), "keeper_lost", "device: /x/1"),
        (OSError(errno.EMFILE, "Too many open files"), "keeper_lost", "files: /tasks/1.0.1"),
        (PermissionError(errno.EACCES, "Permission denied"), "not_startable", "/tasks/1.0.1"),
        (ValueError("workdir should be an absolute path"), "not_startable", "absolute path"),
    ],
)
def test_a_host_that_has_nothing_left_fails_no_job(
    error: Exception, kind: str, detail: str
) -> None:
    record = unstarted(error, "/tasks/1.0.1")
    assert record.kind == kind
    assert record.detail.endswith(detail)
