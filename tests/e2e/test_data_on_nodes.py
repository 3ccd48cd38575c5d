"""Jobs that read versions of data sets: brought to their node before they take GPUs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.programs.cli_site import CliSite

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180), pytest.mark.xdist_group("data")]

PRINT = 'echo "at $WATTLINE_DATA_DIGITS_X"; cat "$WATTLINE_DATA_DIGITS_X"/part/one.csv'


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Iterator[CliSite]:
    """One node, whose cache is small."""

    def with_store(text: str) -> str:
        return f'{text}\n[data]\nstore = "{store}"\n'

    with CliSite(tmp_path_factory.mktemp("site"), edit=with_store) as made:
        made.agent_options = ("--cache-size", "20MiB")
        made.start_node("n1")
        yield made


def add(site: CliSite, name: str, files: dict[str, bytes]) -> None:
    """The next version of a set."""
    folder = site.folder / "tree"
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    site.wattline("data", "add", name, str(folder))
    for path in files:
        (folder / path).unlink()


def is_list_empty(site: CliSite) -> bool:
    """By the log of the agent."""
    lists = [line for line in site.tail("agent-n1", 50).splitlines() if "data_listed" in line]
    return '"versions": []' in lists[-1]


def objects(store: Path, data: bytes) -> Path:
    from hashlib import sha256

    digest = sha256(data).hexdigest()
    return store / "objects" / digest[:2] / digest


def test_a_job_finds_its_data_and_waits_for_a_store_that_is_away(
    site: CliSite, store: Path
) -> None:
    add(site, "digits-x", {"part/one.csv": b"1,2\n", "two.bin": b"x" * 100_000})
    first = site.submit("--datasets", "digits-x@latest", "--", "sh", "-c", PRINT)
    ended = site.until_state(first, "COMPLETED")
    assert ended["spec"]["data"]["datasets"] == ["digits-x@v1"]
    shown = site.wattline("logs", first)
    assert "1,2" in shown
    assert str(site.state("n1") / "cache/versions") in shown

    add(site, "digits-x", {"part/one.csv": b"3,4\n", "two.bin": b"x" * 100_000})
    away = store.with_name("away")
    store.rename(away)
    second = site.submit("--datasets", "digits-x@v2", "--", "sh", "-c", PRINT)
    site.until_all_shown(
        ("PENDING", "digits-x@v2 is not on n1 yet", "store is away"), "job", second
    )
    site.until_shown("store is away", "explain", second)
    assert not site.json("job", second)["attempts"]
    away.rename(store)
    site.until_state(second, "COMPLETED")
    assert "3,4" in site.wattline("logs", second)

    cached = site.state("n1") / "cache/versions"
    assert len(list(cached.iterdir())) == 2
    site.wattline("data", "rm", "digits-x@v1")
    site.until(lambda: len(list(cached.iterdir())) == 1, "its copy has left the cache")


def test_an_output_waits_for_its_store_and_leaves_its_node_when_its_job_is_cancelled(
    site: CliSite, store: Path
) -> None:
    def outputs() -> list[Path]:
        return list((site.state("n1") / "tasks").glob("*.output"))

    make = ("--makes", "made", "--", "sh", "-c", 'echo 1 > "$WATTLINE_OUTPUT/a.csv"')
    away = store.with_name("away")
    store.rename(away)
    first = site.submit(*make)
    site.until_all_shown(("RUNNING", "publishing made on n1", "store is away"), "job", first)
    assert len(outputs()) == 1
    site.wattline("cancel", first)
    site.until_state(first, "CANCELLED")
    site.until(lambda: not outputs(), "its output has left the node")
    away.rename(store)
    site.until_state(site.submit(*make), "COMPLETED")
    assert site.json("data", "show", "made")["version"] == 1
    site.until(lambda: not outputs(), "what is published leaves the node")


def test_damaged_data_is_fetched_once_more_and_then_refused(site: CliSite, store: Path) -> None:
    add(site, "worn", {"a.csv": b"good", "b.csv": b"also good"})
    kept = objects(store, b"also good")
    kept.chmod(0o644)
    kept.write_bytes(b"also bad!")
    failed = site.submit("--datasets", "worn@v1", "--", "true")
    ended = site.until_state(failed, "FAILED")
    assert "b.csv has another SHA-256" in ended["reason"]
    assert not ended["attempts"]
    kept.write_bytes(b"also good")
    site.until_state(site.submit("--datasets", "worn@v1", "--", "true"), "COMPLETED")

    site.until(lambda: is_list_empty(site), "no job needs data any more")
    (cached,) = (site.state("n1") / "cache/versions").glob("*/b.csv")
    cached.chmod(0o644)
    cached.write_bytes(b"changed!!")
    reads = ("sh", "-c", "cat $WATTLINE_DATA_WORN/b.csv")
    again = site.submit("--datasets", "worn@v1", "--", *reads)
    site.until_state(again, "COMPLETED")
    assert "also good" in site.wattline("logs", again)


def test_a_version_that_broke_a_rule_fails_a_strict_job(site: CliSite) -> None:
    for low in (20, 60):
        ages = "".join(f"{low + at % 50}\n" for at in range(2_000))
        add(site, "people", {"people.csv": f"age\n{ages}".encode()})
    strict = ("--data-check", "strict", "--", "sh", "-c", "wc -l $WATTLINE_DATA_PEOPLE/*")
    failed = site.submit("--datasets", "people@latest", *strict)
    ended = site.until_state(failed, "FAILED")
    assert "people@v2 breaks rules against people@v1: age: range 0.8" in ended["reason"]
    assert not ended["attempts"]
    site.until_state(site.submit("--datasets", "people@v1", *strict), "COMPLETED")


def test_what_cannot_be_read_is_refused_at_submission(site: CliSite) -> None:
    add(site, "large", {"a.bin": b"\0" * 30_000_000})
    refusals = {
        "large@v1": ("28.6 MiB", "20 MiB", "--cache-size"),
        "large@v7": ("large@v7 does not exist", "v1"),
        "larg@v1": ("there is no data set larg", "the nearest is large"),
        "large": ("expected NAME@VERSION",),
    }
    for name, texts in refusals.items():
        done = site.run("submit", "--datasets", name, "--", "true")
        assert done.returncode != 0
        for text in texts:
            assert text in done.stderr, done.stderr


def test_a_service_finds_its_model(site: CliSite) -> None:
    folder = site.folder / "weights"
    folder.mkdir()
    (folder / "w.txt").write_text("weights of v1\n")
    site.wattline("data", "add", "net", str(folder), "--model")
    site.wattline("data", "approve", "net@v1", "--as", "stable")
    command = ("sh", "-c", 'cat "$WATTLINE_MODEL/w.txt"; exec sleep 600')
    flags = ("--kind", "service", "--name", "serve-net", "--model", "net@stable")
    number = site.submit(*flags, "--", *command)
    site.until_state(number, "RUNNING")
    site.until_shown("weights of v1", "logs", number)
    used = site.json("data", "show", "net@v1")["used_by"]
    assert [(one["kind"], one["name"]) for one in used] == [("service", "serve-net")]
    refused = site.run("data", "rm", "net@v1")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "net@v1 is needed by service serve-net" in refused.stderr
    site.wattline("cancel", number)
    site.until_state(number, "CANCELLED")
    assert "1 object" in site.wattline("data", "rm", "net@v1")
