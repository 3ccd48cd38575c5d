"""Every Wattline verb, flag and key that `docs/from-slurm.md` names exists."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from wattline.slurm.commands import tables
from wattline.verbs.catalogue import CATALOGUE
from wattline.verbs.group import parameters
from wattline.verbs.verb import Option
from wattline_protocol.site.file import SiteFileError, parse_site

PAGE = (Path(__file__).parents[2] / "docs/from-slurm.md").read_text(encoding="utf-8")
FLAGS = {
    verb.name: {flag for p in parameters(verb) if isinstance(p, Option) for flag in p.flags}
    for verb in CATALOGUE
}
SBATCH = """account acctg-freq array batch bb bbf begin chdir cluster-constraint clusters comment
consolidate-segments constraint container container-id contiguous core-spec cores-per-socket
cpu-freq cpus-per-gpu cpus-per-task deadline delay-boot dependency distribution error exclude
exclusive export export-file extra get-user-env gid gpu-bind gpu-freq gpus gpus-per-node
gpus-per-socket gpus-per-task gres gres-flags help hint hold ignore-pbs input job-name
kill-on-invalid-dep licenses mail-type mail-user mcs-label mem mem-bind mem-per-cpu mem-per-gpu
mincpus network nice no-kill no-requeue nodefile nodelist nodes ntasks ntasks-per-core
ntasks-per-gpu ntasks-per-node ntasks-per-socket oom-kill-step open-mode output overcommit
oversubscribe parsable partition prefer priority profile propagate qos quiet reboot requeue
reservation resv-ports segment signal sockets-per-node spread-job stepmgr switches test-only
thread-spec threads-per-core time time-min tmp tres-bind tres-per-task uid usage use-min-nodes
verbose version wait wait-all-nodes wckey wrap"""
"""Long options of sbatch, as its manual of Slurm 24.11 lists them."""

OF_WATTLINE_ITSELF = {"--version", "--help"}


def spans() -> Iterator[str]:
    """Code spans about Wattline: those in the first column of a table are Slurm's."""
    for line in PAGE.splitlines():
        text = line.split(" | ", 1)[1] if line.startswith("|") and " | " in line else line
        yield from re.findall(r"`([^`]+)`", text)


def verb_of(span: str) -> str:
    """The verb that a command names; `submit` where a span has flags alone."""
    words = span.partition(" -- ")[0].split()
    if words[0].startswith("-"):
        return "submit"
    names = (" ".join(words[1 : 1 + depth]) for depth in (3, 2, 1))
    return next((name for name in names if name in FLAGS), " ".join(words[1:]))


COMMANDS = sorted({span for span in spans() if span.startswith(("wattline ", "-"))})


@pytest.mark.parametrize("span", COMMANDS)
def test_it_exists(span: str) -> None:
    verb = verb_of(span)
    ours = span.partition("-- ")[0]
    named = re.findall(r"(?:^| )(--?[a-z][a-z-]*)", ours)
    if verb.startswith("help "):
        assert verb.removeprefix("help ") in FLAGS
    elif span.startswith("wattline --"):
        assert set(named) <= OF_WATTLINE_ITSELF
    else:
        assert verb in FLAGS
        assert set(named) <= FLAGS[verb]


def test_the_page_names_enough_to_be_checked() -> None:
    assert len(COMMANDS) > 80


def test_every_flag_of_submit_is_in_the_page() -> None:
    """What Slurm has no word for is listed as well."""
    said = {flag for span in spans() for flag in re.findall(r"--[a-z][a-z-]*", span)}
    long = {flag for flag in FLAGS["submit"] if flag.startswith("--")}
    assert long - said <= {"--submit-dir"}


@pytest.mark.parametrize(("section", "rows"), tables().items())
def test_the_page_says_what_mistyped_verbs_are_told(section: str, rows: dict[str, str]) -> None:
    found = PAGE.split(f"## {section}\n")[1].split("\n## ")[0].partition("|---|---|\n")[2]
    assert found == "".join(f"| {cell} | {instead} |\n" for cell, instead in rows.items())


def test_every_option_of_sbatch_has_a_row() -> None:
    section = PAGE.split("## Options of sbatch\n")[1].split("\n## ")[0]
    rows = "".join(line.split(" | ")[0] for line in section.splitlines() if line.startswith("|"))
    listed = set(re.findall(r"`--([a-z-]+)", rows))
    assert set(SBATCH.split()) <= listed


def test_every_table_of_the_site_file_exists() -> None:
    with pytest.raises(SiteFileError) as caught:
        parse_site("qqqqqqqq = 1\n", "site.toml")
    reported = next(text for text in caught.value.problems if "qqqqqqqq" in text)
    known = reported.partition("keys here are ")[2].split(", ")
    for span in spans():
        if table := re.fullmatch(r"\[+([a-z_]+)\]+", span):
            assert table[1] in {*known, "env"}
