"""What wrong input gets: one clear line, the right exit code, and nothing harmed."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.programs.cli_site import CliSite
from wattline_protocol.site.file import parse_site

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120), pytest.mark.xdist_group("cli-bad")]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CliSite]:
    """A scheduler whose node was never heard."""
    with CliSite(tmp_path_factory.mktemp("bad")) as made:
        yield made


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["jobs", "--stat", "RUNNING"], 2, "--state"),
        (["jobs", "--state", "RUNNIN"], 2, "RUNNING"),
        (["jbos"], 2, "Did you mean 'jobs'?"),
        (["submit"], 2, "nothing to submit"),
        (["submit", "missing.toml"], 3, "no job file missing.toml"),
        (["submit", "--gpus", "two", "--", "true"], 2, "two"),
        (["submit", "--array", "5-1", "--", "true"], 2, "--array"),
        (["submit", "--priority", "hihg", "--", "true"], 2, "high"),
        (["submit", "--env", "NOVALUE", "--", "true"], 2, "NAME=VALUE"),
        (["submit", "--nodes", "9", "--", "true"], 1, "9"),
        (["submit", "--after-ok", "", "--", "true"], 2, "'--after-ok': empty value"),
        (["submit", "--gpu-type", "", "--", "true"], 2, "'--gpu-type': empty value"),
        (["update", "1", "--time", ""], 2, "empty value"),
        (["job", "4711"], 3, "there is no job 4711"),
        (["cancel", "8-3"], 2, "backwards"),
        (["explain", "x"], 2, "'x' is not a job; write its number, or last"),
        (["job", "3-5"], 2, "'3-5' is not one whole job"),
        (["logs", "3.7"], 2, "wattline logs JOB --task N"),
        (["whatif", "last"], 3, "wattline explain last"),
        (["cordon", "n1"], 2, "as n3:0"),
        (["node", "n7"], 3, "n7"),
        (["drain", "n7"], 3, "n7"),
        (["node", "off", "n1"], 2, "--confirm n1"),
        (["node", "off", "n1", "--confirm", "n2"], 2, "nothing was done"),
        (["power", "shed", "120%"], 2, "%"),
        (["power", "shed", "25"], 2, "25%"),
        (["power", "shed", "25%", "--domain", "pdu-9"], 3, "pdu-9"),
        (["power", "restore"], 1, "no shed of feed-a"),
        (["power", "whatif", "feed-a"], 2, "`wattline power whatif feed-a --less 25%` or "),
        (["rollout", "echo"], 3, "there is no rollout of service 'echo'"),
        (["events", "--lines", "-1"], 2, "--lines -1: expected a whole number from 0"),
        (["jobs", "--lines", "-1"], 2, "--lines -1: expected a whole number from 0"),
        (["rollout", "echo", "next.toml"], 3, "no job file next.toml; without a file it is one"),
        (["gateway", "--bundle", "missing.toml"], 3, "`wattline enroll NAME --role gateway` makes"),
        (["scheduler", "--site", ""], 2, "'--site': empty value"),
        (["init", "other", "--host", ""], 2, "'--host': empty value"),
        (["init", "other", "--port", "65533"], 2, "--port 65533: expected 1 to 65532"),
        (["init", "other", "--node", "a b"], 2, '--node: "a b" is not a valid name'),
        (["init", "other", "--admin", "a b"], 2, '--admin: "a b" is not a valid name'),
        (["enroll", "n1"], 2, "'--role'. Choose from: agent, gateway, submitter, operator, admin."),
        (["submit", "--gpu-share", "1.5", "--", "true"], 2, "above 0, up to 1"),
        (["submit", "--cost", "0USD", "--", "true"], 2, "must be above 0; omit it for none"),
        (["submit", "--idle-gpu", "x", "--", "true"], 2, "as a flag below=0.05,for=30m,action=st"),
        (["report", "--since", "yesterday"], 2, "time ago"),
        (["top"], 1, "requires a terminal"),
        (["agent"], 2, "wattline enroll"),
        (["agent", "--gpus", "x", "--check"], 2, "0-3,6"),
        (["scheduler", "--site", "nowhere"], 2, "nowhere"),
        (["enroll", "n9", "--role", "agent", "--site", "nowhere"], 3, "wattline init"),
        (["sim", "node", "--model", "h1000"], 2, "h100"),
        (["jobs", "--bundle", "/dev/null"], 3, "/dev/null is not a join bundle"),
        (["submit", "--label", "zone=b", "--", "true"], 1, "the site has no labels"),
    ],
)
def test_message_and_exit_code(site: CliSite, arguments: list[str], status: int, said: str) -> None:
    done = site.run(*arguments)
    assert said in done.stderr
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr


def test_mistyped_key_names_line_and_nearest(site: CliSite, tmp_path: Path) -> None:
    file = tmp_path / "job.toml"
    file.write_text('name = "x"\ncommand = ["true"]\nprority = "high"\n')
    done = site.run("submit", str(file))
    assert done.returncode == 2
    assert f"{file}:3" in done.stderr
    assert "priority" in done.stderr


def test_unknown_member_is_not_enrolled(site: CliSite) -> None:
    done = site.run("enroll", "n9", "--role", "agent", "--site", str(site.site))
    assert done.returncode == 3
    assert "n1" in done.stderr


def test_site_directory_is_never_overwritten(site: CliSite) -> None:
    before = (site.site / "site.toml").read_text()
    assert site.run("init", str(site.site)).returncode == 1
    assert (site.site / "site.toml").read_text() == before


def test_submitter_may_not_act_as_operator(site: CliSite) -> None:
    site.wattline("enroll", "ada", "--role", "submitter", "--site", str(site.site))
    ada = ("--bundle", str(site.bundle("ada")))
    site.until(lambda: site.run("nodes", *ada).returncode == 0, "ada is admitted")
    done = site.run("power", "shed", "25%", *ada)
    assert done.returncode == 4
    assert "operator" in done.stderr


def test_a_program_names_the_role_that_its_bundle_lacks(site: CliSite) -> None:
    admin = ("--bundle", str(site.bundle("admin")))
    done = site.run("gateway", "--site", str(site.site), *admin)
    assert (done.returncode, "needs one of role gateway" in done.stderr) == (2, True), done.stderr


def test_a_gateway_that_cannot_serve_says_why_in_a_line(site: CliSite) -> None:
    site.wattline("enroll", "gateway", "--role", "gateway", "--site", str(site.site))
    gateways = parse_site((site.site / "site.toml").read_text(), "site.toml").gateways
    host, _, port = gateways[0].http_address.partition(":")
    command = ("gateway", "--site", str(site.site), "--bundle", str(site.bundle("gateway")))
    with socket.create_server((host, int(port))):
        for flags, status, why in (
            (("--processes", "0"), 2, "processes is 0, it must be at least 1"),
            (("--processes", "65"), 2, "it must be at most 64"),
            ((), 1, f"cannot serve HTTP on {host}:{port}: Address already in use; stop "),
            (
                ("--processes", "2"),
                1,
                f"cannot serve HTTP on {host}:{port}: Address already in use",
            ),
        ):
            done = site.run(*command, *flags)
            assert done.returncode == status
            assert why in done.stderr.splitlines()[-1]
            assert "Traceback" not in done.stderr
    done = site.run(*command, "--access-log", str(site.site))
    assert (done.returncode, "access log" in done.stderr.splitlines()[-1]) == (1, True), done.stderr


def test_a_second_scheduler_is_told_what_holds_its_port(site: CliSite, tmp_path: Path) -> None:
    done = site.run("scheduler", "--site", str(site.site), "--state-dir", str(tmp_path / "state"))
    assert (done.returncode, "listens there already" in done.stderr) == (2, True), done.stderr


def test_strangers_key_is_refused(site: CliSite) -> None:
    site.wattline("enroll", "bob", "--role", "submitter", "--site", str(site.site))
    (site.site / "authorized" / "bob.toml").unlink()
    bob = ("--bundle", str(site.bundle("bob")))

    def is_refused() -> bool:
        return site.run("nodes", *bob).returncode == 4

    site.until(is_refused, "bob is refused")
    assert "wattline enroll" in site.run("nodes", *bob).stderr
    assert site.run("nodes").returncode == 0


def test_without_a_bundle_the_way_to_one_is_told(
    site: CliSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(site.environ, "WATTLINE_BUNDLE")
    monkeypatch.setitem(site.environ, "HOME", str(tmp_path))
    done = site.run("jobs")
    assert done.returncode == 3
    assert "wattline enroll" in done.stderr


def test_bundle_open_to_others_is_refused(site: CliSite, tmp_path: Path) -> None:
    copy = tmp_path / "open.toml"
    copy.write_bytes(site.bundle("admin").read_bytes())
    copy.chmod(0o644)
    done = site.run("jobs", "--bundle", str(copy))
    assert done.returncode == 3
    assert "chmod 600" in done.stderr


def test_output_in_a_pipe_is_plain(site: CliSite) -> None:
    shown = site.wattline("nodes")
    assert "\x1b" not in shown
    assert all(line == line.rstrip() for line in shown.splitlines())
