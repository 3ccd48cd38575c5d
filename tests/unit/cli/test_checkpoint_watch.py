"""Checkpoints of programs that report none: which are complete, which one is resumed from."""

import dataclasses
import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattline.checkpoint_watch.found import Entry, Found, Unreadable, matches, read, step_of
from wattline.checkpoint_watch.records import FOLDER, Records, root_of
from wattline.checkpoint_watch.resume import (
    NoneIntact,
    adopt,
    announce,
    await_choice,
    choose,
    left_over,
)
from wattline.checkpoint_watch.settling import REST_S, Settling
from wattline.checkpoint_watch.watch import Watch
from wattline.task.environment import Identity


class Site:
    """A working directory whose program saves `out/checkpoint-STEP`."""

    def __init__(self, folder: Path) -> None:
        self.out = folder / "out"
        self.pattern = str(self.out / "checkpoint-*")
        self.reports = folder / "metrics.jsonl"
        self.now_s = 100.0

    def save(self, step: int, content: str = "weights") -> Path:
        """Files of two kinds, written in this order."""
        folder = self.out / f"checkpoint-{step}"
        (folder / "optimizer").mkdir(parents=True, exist_ok=True)
        (folder / "model.pt").write_text(f"{content} of {step}")
        (folder / "optimizer" / "state.pt").write_text(content)
        written_ns = (1_000 + step) * 10**9  # in the order of the steps, whatever the test's speed
        for path in (folder / "model.pt", folder / "optimizer" / "state.pt"):
            os.utime(path, ns=(written_ns, written_ns))
        return folder

    def loaded(self) -> Records:
        """What a new attempt finds."""
        records = Records(root_of(self.pattern))
        records.load()
        return records

    def begin(self) -> Watch:
        """A later attempt that runs."""
        records = self.loaded()
        return Watch(self.pattern, records, left_over(self.pattern, records), None)

    def until_recorded(self, watch: Watch) -> None:
        """Looks, and what is at rest is read."""
        for _ in range(8):
            self.now_s += watch.look()
            reading = watch._reading
            if reading is not None:
                reading._thread.join()

    def reported_steps(self) -> list[int]:
        lines = self.reports.read_text().splitlines() if self.reports.exists() else []
        rows = [json.loads(line) for line in lines]
        return [row["step"] for row in rows if row["wattline"] == "checkpoint"]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    made = Site(tmp_path)
    made.out.mkdir()
    monkeypatch.setenv("WATTLINE_METRICS", str(made.reports))
    monkeypatch.setattr("wattline.checkpoint_watch.watch.time.monotonic", lambda: made.now_s)
    return made


def chosen_step(site: Site) -> int | None:
    record = choose(site.pattern, site.loaded()).record
    return None if record is None else record.step


# --- what is there ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("checkpoint-500", 500),
        ("epoch=3-step=40.ckpt", 40),
        ("step_7.pt2", 7),
        ("last.ckpt", 0),
        ("run2-best", 2),
        (f"checkpoint-{10**30}", 0),
    ],
)
def test_the_step_is_the_last_number_of_the_name(name: str, step: int) -> None:
    assert step_of(f"/data/3/{name}") == step


def test_links_are_neither_matches_nor_followed(site: Site, tmp_path: Path) -> None:
    folder = site.save(1)
    secret = tmp_path / "secret"
    secret.write_text("of another user")
    (site.out / "checkpoint-latest").symlink_to(folder)
    (folder / "config").symlink_to(secret)
    assert matches(site.pattern) == [str(folder)]
    (link,) = (entry for entry in read(str(folder)).entries if entry.target)
    assert (link.name, link.bytes, link.target) == ("config", 0, str(secret))


def test_what_is_no_file_makes_it_no_checkpoint(site: Site) -> None:
    os.mkfifo(site.save(1) / "pipe")
    (site.out / "checkpoint-2").mkdir()
    for step, why in ((1, "pipe is no file"), (2, "it has no file")):
        with pytest.raises(Unreadable, match=why):
            read(str(site.out / f"checkpoint-{step}"))


# --- when it is complete ----------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(0.0, 5.0), st.booleans()), min_size=1, max_size=30))
def test_at_rest_is_what_was_listed_unchanged_for_long_enough(
    looks: list[tuple[float, bool]],
) -> None:
    settling, now_s, changed_s, size = Settling(), 0.0, None, 0
    for passed_s, is_written in looks:
        now_s += passed_s
        if is_written or changed_s is None:
            size, changed_s = size + 1, now_s
        found = Found("/out/checkpoint-1", (Entry("model", size, 0),))
        assert bool(settling.at_rest([found], now_s)) == (now_s - changed_s >= REST_S)


def test_a_checkpoint_is_recorded_and_reported_once_it_is_at_rest(site: Site) -> None:
    watch = site.begin()
    site.save(10)
    for _ in range(4):
        site.now_s += watch.look()
        assert not site.loaded().all()
    watch.look()
    (record,) = site.loaded().all()
    assert not record.sums, "it is known before its files are read"
    site.until_recorded(watch)
    assert chosen_step(site) == 10
    assert site.reported_steps() == [10]
    (record,) = site.loaded().all()
    assert all(record.sums)


def test_a_pause_is_no_rest(site: Site) -> None:
    """Its program was frozen with it, perhaps in the middle of a save."""
    watch = site.begin()
    watch.look()
    part = site.save(10)
    site.now_s += watch.look() + 600.0
    site.now_s += watch.look()
    assert not site.loaded().all()
    (part / "model.pt").write_text("now all of it")
    site.until_recorded(watch)
    assert chosen_step(site) == 10


def test_a_part_of_a_killed_program_is_never_chosen(site: Site) -> None:
    watch = site.begin()
    site.save(10)
    site.until_recorded(watch)
    part = site.save(20)
    watch.finish(is_complete=False)
    following = site.begin()
    site.until_recorded(following)  # at rest since, and still only what was left
    assert chosen_step(site) == 10
    (part / "model.pt").write_text("complete now")
    site.until_recorded(following)
    assert chosen_step(site) == 20


def test_after_a_good_end_what_is_there_is_complete_at_once(site: Site) -> None:
    watch = site.begin()
    site.save(10)
    watch.finish(is_complete=True)
    assert (chosen_step(site), site.reported_steps()) == (10, [10])
    site.until_recorded(site.begin())
    (record,) = site.loaded().all()
    assert all(record.sums), "the next attempt reads its files"


def test_one_that_the_program_removes_is_forgotten(site: Site) -> None:
    watch = site.begin()
    for step in (10, 20):
        site.save(step)
    site.until_recorded(watch)
    for path in sorted((site.out / "checkpoint-10").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (site.out / "checkpoint-10").rmdir()
    assert [record.step for record in site.loaded().all()] == [20]


@pytest.mark.parametrize("has_run_before", [False, True])
def test_what_was_there_before_the_job_is_complete(site: Site, *, has_run_before: bool) -> None:
    site.save(30)
    records = site.loaded()
    adopt(site.pattern, records, has_run_before=has_run_before, sleep=lambda _: None)
    assert chosen_step(site) == (None if has_run_before else 30)


def test_where_there_are_records_a_further_match_may_be_a_part(site: Site) -> None:
    site.loaded()
    site.save(30)
    records = site.loaded()
    adopt(site.pattern, records, has_run_before=False)
    assert not records.all()


# --- which one is resumed from ----------------------------------------------------------


def saved_and_read(site: Site, *steps: int) -> None:
    watch = site.begin()
    for step in steps:
        site.save(step)
        site.until_recorded(watch)


def test_a_damaged_one_is_passed_over_for_the_one_before(site: Site) -> None:
    saved_and_read(site, 10, 20)
    model = site.out / "checkpoint-20" / "model.pt"
    written_ns = model.stat().st_mtime_ns
    model.write_text("Weights of 20")  # as long as before
    os.utime(model, ns=(written_ns, written_ns))
    choice = choose(site.pattern, site.loaded())
    assert choice.record is not None
    assert choice.record.step == 10
    ((rejected, why),) = choice.rejected
    assert (rejected.step, "checksums" in why) == (20, True)
    choice.check(site.out, 20)


def test_a_clock_that_was_ahead_makes_no_checkpoint_the_newest(site: Site) -> None:
    watch = site.begin()
    ahead = site.save(10)
    os.utime(ahead / "model.pt", ns=(2**62, 2**62))
    site.until_recorded(watch)
    site.save(20)
    site.until_recorded(watch)
    (ahead / "optimizer" / "state.pt").unlink()  # as programs do that keep only the weights
    site.until_recorded(watch)
    assert chosen_step(site) == 20
    assert site.reported_steps() == [10, 20]
    first = json.loads(site.reports.read_text().splitlines()[0])
    assert first["unix_s"] <= time.time(), "else the agent ignores it"


def test_none_intact_has_the_reason_of_each(site: Site) -> None:
    saved_and_read(site, 10, 20)
    (site.out / "checkpoint-10" / "model.pt").unlink()
    (site.out / "checkpoint-20" / "more").write_text("x")
    choice = choose(site.pattern, site.loaded())
    with pytest.raises(NoneIntact) as error:
        choice.check(site.out, 20)
    for words in ("checkpoint-10: model.pt is missing", "checkpoint-20: more was added"):
        assert words in str(error.value)
    assert "--from-scratch" in str(error.value)


def test_one_that_the_job_has_and_that_is_not_there_is_no_start_from_step_0(site: Site) -> None:
    choose(site.pattern, site.loaded()).check(site.out, None)
    with pytest.raises(NoneIntact, match="that of step 20 is gone; is the file system mounted"):
        choose(site.pattern, site.loaded()).check(site.out, 20)


def test_checkpoints_of_another_pattern_in_the_same_directory_are_not_resumed_from(
    site: Site,
) -> None:
    saved_and_read(site, 10)
    assert choose(site.pattern, site.loaded()).record is not None
    assert choose(str(site.out / "gang-*"), site.loaded()).record is None


def test_the_other_nodes_of_a_gang_take_the_choice_of_the_first(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved_and_read(site, 10)
    records, me = site.loaded(), Identity(7, "x", 0, 2, None, "n1")
    announce(records, me, "a", choose(site.pattern, records).record)
    announce(records, me, "b", None)  # a job of the same number, of another site
    elsewhere = Records(root_of(site.pattern))
    assert await_choice(elsewhere, me, "a") == str(site.out / "checkpoint-10")
    announce(records, me, "a", None)
    assert await_choice(elsewhere, me, "a") is None

    def passes(seconds: float) -> None:
        site.now_s += seconds

    monkeypatch.setattr("wattline.checkpoint_watch.resume.time.sleep", passes)
    monkeypatch.setattr("wattline.checkpoint_watch.resume.MEET_WITHIN_S", 1.0)
    for other, at in ((dataclasses.replace(me, attempt=3), "a"), (me, "c")):
        with pytest.raises(TimeoutError, match="needs a directory that all of them mount"):
            await_choice(elsewhere, other, at)


def test_a_torn_or_foreign_record_counts_as_none(site: Site) -> None:
    saved_and_read(site, 10)
    (file,) = (site.out / FOLDER).glob("*.jsonl")
    whole = file.read_bytes()
    for content in (whole[:-9], b"[]\n", b'{"format": 9}\n', b"\xff", b"[" * 100_000, b""):
        file.write_bytes(content)
        assert not site.loaded().all()
        file.write_bytes(whole)
    assert chosen_step(site) == 10


def test_a_damaged_record_reaches_no_other_one(site: Site) -> None:
    saved_and_read(site, 10)
    (file,) = (site.out / FOLDER).glob("*.jsonl")
    first, line = map(json.loads, file.read_text().splitlines()[:2])
    bad_firsts = ({"step": 1e999}, {"step": 2**63}, {"path": "a\0b"}, {"path": "\ud800"})
    bad_lines = ({"mtime_ns": None}, {"mtime_ns": "9"}, {"mtime_ns": 10**400}, {"name": [1]})
    pairs = [({**first, "files": 1, **bad}, line) for bad in bad_firsts]
    pairs += [({**first, "files": 1}, {**line, **bad}) for bad in bad_lines]
    for bad in pairs:
        beside = file.with_name("bad.jsonl")
        beside.write_text("".join(json.dumps(one) + "\n" for one in bad))
        assert [record.step for record in site.loaded().all()] == [10], bad
    os.mkfifo(file.with_name("pipe.jsonl"))
    assert chosen_step(site) == 10


def test_a_record_that_cannot_be_read_once_is_not_lost(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved_and_read(site, 10)

    def fails(path: Path, *_: object) -> None:
        raise OSError(errno.EIO, "Input/output error", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", fails)
        with pytest.raises(OSError, match="Input/output error"):
            site.loaded()
    assert chosen_step(site) == 10


# --- the program ------------------------------------------------------------------------

SCRIPT = "d=out/checkpoint-$0; mkdir -p $d; echo x >$d/w; echo from=$WATTLINE_RESUME_FROM"


def test_the_program_runs_as_without_it_and_learns_what_to_resume_from(tmp_path: Path) -> None:
    def run(*command: str) -> tuple[int, str]:
        argv = [sys.executable, "-I", "-m", "wattline.checkpoint_watch", "--", "out/checkpoint-*"]
        environment = {**os.environ, "WATTLINE_METRICS": str(tmp_path / "m.jsonl")}
        done = subprocess.run(
            [*argv, *command], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        return done.returncode, done.stdout + done.stderr

    assert run("sh", "-c", SCRIPT, "5", "--", "-x") == (0, "from=\n")
    status, output = run("sh", "-c", f"{SCRIPT}; kill -TERM $$", "6")
    assert (status, output) == (-15, f"from={tmp_path}/out/checkpoint-5\n")
    (tmp_path / "out" / "checkpoint-6" / "w").unlink()
    assert run("no-such-program") == (127, "wattline: command not found: no-such-program\n")
