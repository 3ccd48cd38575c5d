"""[secrets] of a job: entries by name, never values; and a hint for values in [env]."""

import msgspec
import pytest

from wattline_protocol.job.change import asked_for
from wattline_protocol.job.file import (
    JobFileError,
    format_job,
    job_from_options,
    job_problems,
    parse_job,
)
from wattline_protocol.job.secret_values import exposed, exposed_hint
from wattline_protocol.job.spec import JobSpec, SecretUse

FILE = """
command = ["python", "train.py"]
[secrets]
SSH_KEY = "deploy"
WANDB_API_KEY = { entry = "wandb", env = true }
PLAIN = { entry = "plain" }
"""


def test_a_secret_is_a_file_or_also_a_variable_and_reads_back() -> None:
    job = parse_job(FILE, "job.toml")
    assert job.secrets == {
        "SSH_KEY": SecretUse("deploy"),
        "WANDB_API_KEY": SecretUse("wandb", env=True),
        "PLAIN": SecretUse("plain"),
    }
    again = format_job(job)
    assert 'SSH_KEY = "deploy"' in again
    assert parse_job(again, "again") == job
    shown = asked_for(job)[""]["secrets"]
    assert shown == "SSH_KEY=deploy,WANDB_API_KEY=wandb,PLAIN=plain"


def test_flags_give_files() -> None:
    job = job_from_options(command=["true"], secrets=["A=one", "B=two"])
    assert job.secrets == {"A": SecretUse("one"), "B": SecretUse("two")}


VALUE = "hunter2/is not+a=name"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (f'A = "{VALUE}"', "not the name of an entry"),
        ("A = 3", 'expected the name of an entry, as in "wandb"'),
        ("A = { env = true }", 'expected the name of an entry, as in "wandb"'),
        ('A = { entry = "a", env = "yes" }', "expected the name of an entry"),
        ('A = { entry = "a", file = true }', "expected the name of an entry"),
        (f'A = {{ entry = "{VALUE}", env = true }}', "wattline secret put"),
        ('"a b" = "a"', "is not a name of a variable"),
        ('"A/../B" = "a"', "is not a name of a variable"),
        ('WATTLINE_X = "a"', "is set by Wattline itself"),
        ('PATH = { entry = "a", env = true }', "PATH describes the host"),
        ('SEED = { entry = "a", env = true }', "SEED is in [env] as well: omit one"),
    ],
    ids=lambda text: text[:24] if "=" in text else "",
)
def test_bad_secrets_are_refused_without_repeating_what_may_be_a_value(
    line: str, words: str
) -> None:
    text = f'command = ["true"]\n[env]\nSEED = "1"\n[secrets]\n{line}\n'
    with pytest.raises(JobFileError) as refused:
        parse_job(text, "job.toml")
    assert words in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("name", ["A/../B", "A B", "WATTLINE_NODE", ""])
def test_a_spec_that_no_client_of_ours_made_is_checked_as_well(name: str) -> None:
    raw = JobSpec(name="x", command=("true",), secrets={name: SecretUse("wandb")})
    assert job_problems(raw)
    bad_entry = msgspec.structs.replace(raw, secrets={"A": SecretUse("../x")})
    assert "not the name of an entry" in job_problems(bad_entry)[0]


def test_too_many_secrets_are_refused() -> None:
    with pytest.raises(JobFileError, match="at most 64 secrets"):
        job_from_options(command=["true"], secrets={f"A{n}": "a" for n in range(65)})


LOOK_SECRET = {
    "HF": "hf_" + "AbCdEfGhIj" * 4,
    "X": "ghp_" + "0123456789abcdef" * 3,
    "Y": "AKIAIOSFODNN7EXAMPLE",
    "WANDB_API_KEY": "3f786850e387550fdab836ed7e6dc881de23001b",
    "DB_PASSWORD": "k2J!mQ8z%Lw4@Rt7Yp",
    "DB": "postgres://ada:pw0@db/x",
    "KEYFILE": "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blbn",
    "JWT": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-def",
}
LOOK_PLAIN = {
    "SEED": "1",
    "TOKENIZER_PATH": "/data/tokenizers/llama-3-8b-instruct",
    "MAX_TOKENS": "1048576",
    "TOKENIZER": "bert-base-uncased",
    "KEYBOARD": "de",
    "SECRET_SAUCE": "aaaaaaaaaaaaaaaaaaaaaaaa1",
    "API_URL": "https://example.org/v1",
    "JOB_SCRIPT": "#!/bin/sh\nexport TOKEN=hf_" + "AbCdEfGhIj" * 4 + "\n",
    "COMMIT": "3f786850e387550fdab836ed7e6dc881de23001b",
}


def test_values_that_look_like_secrets_are_found_and_others_are_not() -> None:
    assert set(exposed(LOOK_SECRET | LOOK_PLAIN)) == set(LOOK_SECRET)


def test_the_hint_names_the_variable_and_never_its_value() -> None:
    hint = exposed_hint(LOOK_SECRET)
    assert "[env] HF (and 7 more)" in hint
    assert '[secrets] HF = { entry = "hf", env = true }' in hint
    assert not any(value in hint for value in LOOK_SECRET.values())
    assert exposed_hint(LOOK_PLAIN) == ""
