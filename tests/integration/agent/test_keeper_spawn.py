"""Both ways to start a process do the same, also where it fails: `launch.c` and a plain fork."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from support.node.spawning import spawned
from wattline_agent.keeper import spawn as spawning
from wattline_agent.keeper import vfork
from wattline_agent.keeper.attempt import Attempt, boottime_s
from wattline_agent.keeper.journal import Journal
from wattline_agent.keeper.life import Life
from wattline_agent.keeper.mounts import Mounts
from wattline_agent.keeper.processes.cgroup import NO_SITE, Group, discover, remove_site
from wattline_agent.keeper.processes.command import NotStarted
from wattline_agent.keeper.spawn import Launch
from wattline_agent.keeper.spec import TaskSpec
from wattline_agent.keeper.starting import Loop, StartCallbacks, Starter

SOURCE = Path(vfork.__file__).with_name("launch.c")
STANDING = """
import ctypes, json, os, resource, signal, sys
death = ctypes.c_int()
ctypes.CDLL(None).prctl(2, ctypes.byref(death), 0, 0, 0)
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines())
print(json.dumps({
    "argv": sys.argv[1:], "env": os.environ.get("GIVEN"), "cwd": os.getcwd(),
    "leads its session": os.getsid(0) == os.getpid(), "nice": os.getpriority(os.PRIO_PROCESS, 0),
    "core": resource.getrlimit(resource.RLIMIT_CORE), "dies by": death.value,
    "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    "oom": open("/proc/self/oom_score_adj").read(), "parent": os.getppid(),
    "signals": [status[name] for name in ("SigIgn", "SigBlk")],
    "descriptors": sorted(os.listdir("/proc/self/fd")), "input": sys.stdin.read(),
}))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the install builds it."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (cc) here")
    file = tmp_path_factory.mktemp("launch") / "_launch.so"
    command = [compiler, "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([*command, "-o", str(file), str(SOURCE)], check=True, timeout=60)
    return file


@pytest.fixture(params=["vfork", "fork"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, library: Path) -> str:
    """Of starting a process."""
    launcher = vfork.load_launcher(library.parent) if request.param == "vfork" else None
    monkeypatch.setattr(spawning, "_launcher", launcher)
    assert (spawning._launcher is None) == (request.param == "fork")
    return str(request.param)


def _is_inherited(descriptor: int) -> bool:
    """By whatever runs these tests; not the listing, which is closed by now."""
    try:
        return os.get_inheritable(descriptor)
    except OSError:
        return False


def run(
    *argv: str, cwd: str = "/", env: dict[str, str] | None = None, cgroup: str = ""
) -> tuple[str, int]:
    """What it wrote, and its wait status."""
    status_pipe, tell = os.pipe()
    try:
        limits = {"core": 0, "nofile": 512}
        pid = spawned(Launch(argv[0], argv, env or {}, cwd, tell, limits, cgroup=cgroup))
    finally:
        os.close(tell)
    with os.fdopen(status_pipe) as output:
        text = output.read()
    return text, os.waitpid(pid, 0)[1]


def test_how_a_program_finds_itself(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as the keeper does
    try:
        text, status = run(
            sys.executable, "-c", STANDING, "é", "", cwd=str(tmp_path), env={"GIVEN": "a=b"}
        )
    finally:
        signal.signal(signal.SIGHUP, before)
    assert status == 0
    found = json.loads(text)
    ours = {fd.name for fd in Path("/proc/self/fd").iterdir() if _is_inherited(int(fd.name))}
    given = set(found.pop("descriptors")) - ours - {"0", "1", "2"}
    assert given <= {"3", "4"}, "nothing but the script and the listing itself"
    assert found == {
        "argv": ["é", ""],
        "env": "a=b",
        "cwd": str(tmp_path),
        "leads its session": True,
        "nice": max(0, os.getpriority(os.PRIO_PROCESS, 0)),
        "core": [0, 0],
        "dies by": signal.SIGKILL,
        "files": 512,
        "oom": "300\n",
        "parent": os.getpid(),
        "signals": ["0000000001001000", "0" * 16],  # Python's own: SIGPIPE, SIGXFSZ
        "input": "",
    }


def test_it_begins_in_its_cgroup() -> None:
    name = f"wattline-test-{os.getpid()}"  # other workers and suites test this at the same time
    site = discover(name)
    if site.base is None:
        pytest.skip(site.words)
    group = Group.make(site, "1.0.1", 0, 0)
    assert group is not None
    try:
        text, status = run("/bin/sh", "-c", "cat /proc/self/cgroup", cgroup=group.path)
        assert status == 0
        assert "0::" in text
        assert next(line for line in text.splitlines() if line.startswith("0::")).endswith(
            f"{name}/1.0.1"
        )
    finally:
        assert group.remove()
        remove_site(site)


def test_status_127_is_a_programs_own() -> None:
    assert run("/bin/sh", "-c", "exit 127") == ("", 127 << 8)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("echo hello\n", "neither a program nor a script with a #! line"),
        ("#!/no/such/interpreter\n", "names an interpreter that does not exist"),
    ],
)
def test_why_an_exec_failed_is_said_and_no_process_is_left(
    tmp_path: Path, text: str, words: str
) -> None:
    script = tmp_path / "run"
    script.write_text(text)
    script.chmod(0o755)
    with pytest.raises(NotStarted, match=words) as found:
        run(str(script))
    assert found.value.kind == "not_startable"
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_what_is_too_long_is_said() -> None:
    with pytest.raises(NotStarted, match="too long"):
        run("/bin/true", "x" * (1024 * 1024))


def test_the_step_that_failed_is_said() -> None:
    with pytest.raises(NotStarted, match=r"cannot set output for /bin/true: .*[Bb]ad file"):
        spawned(Launch("/bin/true", ("/bin/true",), {}, "/", 9999, {}))
    with pytest.raises(NotStarted, match=r"cannot set cgroup for /bin/true: .*No such file"):
        spawned(Launch("/bin/true", ("/bin/true",), {}, "/", 1, {}, cgroup="/no/group"))


def test_the_keepers_own_signals_stay_as_they_are() -> None:
    seen: list[int] = []
    handler = signal.signal(signal.SIGUSR1, lambda number, _: seen.append(number))
    try:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        run("/bin/true")
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before
        os.kill(os.getpid(), signal.SIGUSR1)
        assert seen == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGUSR1, handler)


@pytest.mark.parametrize("kind", ["ext4", "nfs4"])
def test_nobody_is_waited_for_on_a_server(kind: str, tmp_path: Path, way: str) -> None:
    """Such as one with the keeper's state, where attempts run that name no directory."""
    folder, table, program = str(tmp_path), tmp_path / "mountinfo", ("/bin/true",)
    spec = TaskSpec(
        "1.0.1", program, {}, {}, folder, {}, 0, 0, 30.0, 0.0, None, 65536, "", (), "", "", ()
    )
    rows = (("/", "ext4"), (folder, kind))
    table.write_text("".join(f"1 1 0:1 / {at} rw - {of} x rw\n" for at, of in rows))
    attempt, watched = Attempt(Life(spec, 0, boottime_s(), time.time()), folder), list[int]()
    loop = Loop(lambda at, _: watched.append(at), watched.remove)
    callbacks = StartCallbacks(lambda _: None, lambda _: None, lambda *_: None)
    with closing(Mounts(table)) as mounts:
        starts = Starter(NO_SITE, Journal(tmp_path / "starts"), loop, callbacks, mounts)
        starts.begin(attempt)
    assert bool(watched) == (kind == "nfs4" or way == "fork"), "what may hang is heard of later"
    os.waitpid(attempt.life.pid, 0)
    starts.reaped(attempt)
    assert (attempt.failure, watched) == (None, [])
    attempt.release()


@pytest.mark.parametrize("layout", ["", "const int wattline_launch_layout = 0;"])
def test_a_library_of_other_sources_is_left_alone(layout: str, tmp_path: Path) -> None:
    """One that an older version left behind would read what it is given in the wrong places."""
    source, library = tmp_path / "old.c", tmp_path / "_launch.so"
    source.write_text(f"{layout}\nint wattline_launch(void) {{ return -1; }}\n")
    command = ["cc", "-shared", "-fPIC", "-o", str(library), str(source)]
    subprocess.run(command, check=True, timeout=60)
    assert vfork.load_launcher(tmp_path) is None
