"""Keys of `[recovery]`: stop signals and patterns of checkpoints, and what contradicts them."""

import pytest

from wattline_protocol.job.file import JobFileError, format_job, parse_job


def job_of(recovery: str, more: str = "") -> str:
    return f'name = "x"\ncommand = ["x"]\n{more}[recovery]\n{recovery}\n'


def test_they_are_read_and_written_again() -> None:
    text = 'stop_signal = "SIGUSR1"\ncheckpoints = "./out//checkpoint-*"\nfrom_scratch = true'
    job = parse_job(job_of(text), "job.toml")
    recovery = job.recovery
    assert (recovery.stop_signal, recovery.checkpoints) == ("USR1", "out/checkpoint-*")
    assert recovery.from_scratch
    assert parse_job(format_job(job), "again.toml") == job


@pytest.mark.parametrize(
    ("recovery", "more", "words"),
    [
        ('stop_signal = "KILL"', "", "expected one of TERM, INT, HUP, QUIT, USR1"),
        ('stop_signal = "USR2"', "", "expected one of"),
        ('stop_signal = "HUP"', '[launch]\nhow = "torchrun"\nprocs_per_node = 1\n', "use USR1 or"),
        ('checkpoints = ""', "", "expected a pattern of paths"),
        ('checkpoints = "../*"', "", 'without ".."'),
        ('checkpoints = "out/**/x"', "", 'without ".."'),
        ('checkpoints = "out/"', "", "a slash at its end"),
        (f'checkpoints = "{"x" * 513}"', "", "at most 512 characters"),
        (
            'checkpoints = "out/*"',
            'array = "0-3"\n',
            "each index or replica would take",
        ),
    ],
)
def test_what_is_wrong_is_said_in_words(recovery: str, more: str, words: str) -> None:
    with pytest.raises(JobFileError) as error:
        parse_job(job_of(recovery, more), "job.toml")
    assert words in str(error.value)
