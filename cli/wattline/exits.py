"""Exit codes of every `wattline` verb; `docs/cli.md` is generated from here."""

OK = 0
FAILED = 1
USAGE = 2
NOT_FOUND = 3
NOT_ALLOWED = 4
UNREACHABLE = 5
INTERRUPTED = 130

MEANINGS: dict[int, str] = {
    OK: "done",
    FAILED: "failed, or impossible; one line on stderr has the reason",
    USAGE: "wrong usage: an unknown option, or an error in a job file or site file",
    NOT_FOUND: "no such job, node, domain or file",
    NOT_ALLOWED: "refused: this key lacks the permission, or is not enrolled",
    UNREACHABLE: "the scheduler does not answer",
    INTERRUPTED: "ended by Ctrl-C",
}

JOB_TIMEOUT = 124
JOB_CANCELLED = 125

WAIT_MEANINGS: dict[str, str] = {
    "COMPLETED": "0",
    "FAILED": "the exit code of the task that failed, or 128 + the signal that killed it",
    "TIMEOUT": str(JOB_TIMEOUT),
    "CANCELLED": str(JOB_CANCELLED),
}
"""Exit codes of `run` and `submit --wait` once the job has ended, by its state."""
