"""The table of verbs: everything derives from it, and everything in it exists."""

import inspect
import re
from importlib.metadata import version
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from wattline import exits
from wattline.docpage import page
from wattline.lists.list_of import ListOf
from wattline.lists.options import LIST_OPTIONS
from wattline.main import run
from wattline.verbs.catalogue import CATALOGUE
from wattline.verbs.group import Root, parameters
from wattline.verbs.overview import OVERVIEW
from wattline.verbs.run import list_of, load
from wattline.verbs.verb import Verb
from wattline_protocol.job.change import WHEN
from wattline_protocol.job.keys import JOB_KEYS, OPTION_ALIASES, flag_of
from wattline_protocol.job.selection import Selection
from wattline_protocol.wire.client_messages import Acted

REQUIRED = """init enroll scheduler agent gateway submit jobs job explain logs cancel hold release
nodes node drain undrain power events top demo sim report"""


def by_name(verb: Verb) -> str:
    return verb.name


def test_update_has_a_flag_for_every_flag_of_submit_that_can_change() -> None:
    flags = {verb.name: {p.name for p in parameters(verb)} for verb in CATALOGUE}
    changeable = {f for f in flags["submit"] if OPTION_ALIASES.get(f, f) in WHEN}
    assert changeable <= flags["update"]


@pytest.mark.parametrize("verb", CATALOGUE, ids=by_name)
def test_act_takes_what_the_table_says(verb: Verb) -> None:
    act = inspect.signature(load(verb.act))
    of_the_runner = {"bundle"} if verb.role else set()
    of_the_runner |= {"json"} if verb.has_json else set()
    of_the_runner |= {p.name for p in LIST_OPTIONS} if verb.lists else set()
    of_the_runner -= {"where"} if verb.selects else set()
    given = {p.name for p in parameters(verb)} - of_the_runner
    given |= {"as_json"} if verb.knows_json else set()
    named = [p for p in act.parameters.values() if p.kind is p.KEYWORD_ONLY]
    takes_all = any(p.kind is p.VAR_KEYWORD for p in act.parameters.values())
    assert {p.name for p in named} <= given
    assert takes_all or {p.name for p in named} == given
    positional = [p for p in act.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert len(positional) == (1 if verb.role else 0), "the client, and only with a role"
    if verb.show is not None:
        assert callable(load(verb.show))
    for of in verb.lists:
        assert isinstance(load(of), ListOf)


def test_every_verb_of_the_issue_is_there() -> None:
    names = {verb.words[0] for verb in CATALOGUE}
    assert names >= set(REQUIRED.split())
    assert {"node off", "node on", "power shed", "power restore"} <= {v.name for v in CATALOGUE}


@pytest.mark.parametrize("verb", CATALOGUE, ids=by_name)
def test_every_verb_explains_itself(verb: Verb) -> None:
    result = CliRunner().invoke(Root(CATALOGUE), [*verb.words, "--help"])
    assert result.exit_code == 0, result.output
    assert verb.help.split()[0] in result.output


@pytest.mark.parametrize("words", [verb.words for verb in CATALOGUE], ids=" ".join)
def test_help_of_a_verb_is_its_help_flag(words: tuple[str, ...]) -> None:
    asked = CliRunner().invoke(Root(CATALOGUE), ["help", *words], prog_name="wattline")
    flag = CliRunner().invoke(Root(CATALOGUE), [*words, "--help"], prog_name="wattline")
    assert (asked.exit_code, asked.output.rstrip()) == (0, flag.output.rstrip())


def test_the_overview_fits_a_screen_and_names_every_verb() -> None:
    shown = CliRunner().invoke(Root(CATALOGUE), ["help"], prog_name="wattline").output
    assert shown == CliRunner().invoke(Root(CATALOGUE), ["--help"], prog_name="wattline").output
    lines = shown.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    known = {" ".join(verb.words[:depth]) for verb in CATALOGUE for depth in (1, 2)}
    named: set[str] = set()
    for row, _ in (row for rows in OVERVIEW.values() for row in rows):
        for verb in row.split(", "):
            family, _, members = verb.rpartition(" ")
            named.update(f"{family} {member}".strip() for member in members.split("|"))
    assert named <= known
    assert {verb.words[0] for verb in CATALOGUE} <= named


@pytest.mark.parametrize("verb", CATALOGUE, ids=by_name)
def test_json_is_offered_everywhere(verb: Verb) -> None:
    flags = {flag for p in parameters(verb) if hasattr(p, "flags") for flag in p.flags}
    assert "--json" in flags or verb.name in (
        "top",
        "infer",
        "run",
        "attach",
    )  # they write nothing else


@pytest.mark.parametrize(
    ("verb", "values", "of"),
    [
        ("service", {"what": "workers"}, "wattline.show.serving.services:WORKERS"),
        ("service", {"what": "requests"}, "wattline.show.serving.requests:LIST"),
        ("service", {"what": None}, None),
        ("data ls", {"name": None}, "wattline.data.show_versions:SETS"),
        ("data ls", {"name": "digits"}, "wattline.data.show_versions:VERSIONS"),
    ],
)
def test_a_verb_with_several_lists_prints_the_one_of_its_arguments(
    verb: str, values: dict[str, object], of: str | None
) -> None:
    found = list_of(next(one for one in CATALOGUE if one.name == verb), values)
    assert found is (None if of is None else load(of))


def test_family_alone_and_its_members_are_told_apart() -> None:
    root = Root(CATALOGUE)
    node = root.commands["node"]
    assert isinstance(node, click.Group)
    for args, name in ((["n1"], "node"), (["--json", "n1"], "node"), (["off", "n1"], "off")):
        context = click.Context(node, info_name="node")
        node.parse_args(context, list(args))
        rest = [*context._protected_args, *context.args]
        assert rest[0] == name


def test_command_line_after_dashes_is_untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, object] = {}

    def fake(verb: Verb, values: dict[str, object]) -> int:
        seen.update(values)
        return 0

    monkeypatch.setattr("wattline.verbs.group.run", fake)
    arguments = ["submit", "-g", "2", "--", "python", "x.py", "--gpus", "9", "--", "-h"]
    assert CliRunner().invoke(Root(CATALOGUE), arguments).exit_code == 0
    assert seen["command"] == ("python", "x.py", "--gpus", "9", "--", "-h")
    assert seen["gpus"] == 2
    assert seen["file"] is None


def test_docs_page_is_current() -> None:
    path = Path(__file__).parents[3] / "docs/cli.md"
    assert path.read_text(encoding="utf-8") == page(), "run `make docs`"


def test_page_has_every_verb_once() -> None:
    headings = re.findall(r"^### (.+)$", page(), re.MULTILINE)
    assert sorted(headings) == sorted(verb.name for verb in CATALOGUE)


def test_the_version_is_that_of_the_distribution() -> None:
    done = CliRunner().invoke(Root(CATALOGUE), ["--version"])
    assert (done.exit_code, done.output) == (0, f"wattline {version('wattline')}\n")


def test_submit_has_a_flag_for_every_key_that_acts() -> None:
    flags = {p.name for verb in CATALOGUE if verb.name == "submit" for p in parameters(verb)}
    given = {OPTION_ALIASES.get(flag, flag) for flag in flags} | {"how"}  # said by --torchrun
    acting = {key.name for key in JOB_KEYS}
    assert acting <= given
    assert {flag_of(name) for name in ("gpus_per_node", "same_rack")} == {"--gpus", "--same-rack"}


class Recording:
    """A client that notes what an update would change."""

    def __init__(self) -> None:
        self.changes: dict[str, object] = {}

    def update(self, which: Selection, *, dry_run: bool, **changes: object) -> Acted:
        assert not dry_run
        assert which.jobs
        self.changes = changes
        return Acted((), is_dry_run=False)


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        ({"retries": 0, "priority": None, "gpu_type": (), "same_rack": False}, {"retries": 0}),
        ({"at_a_time": "4"}, {"at_a_time": 4}),
        ({"at_a_time": "none"}, {"at_a_time": "none"}),
    ],
)
def test_an_update_takes_every_value_that_was_given(
    options: dict[str, object], changes: dict[str, object]
) -> None:
    client = Recording()
    filters = dict.fromkeys(("user", "from_account", "from_queue", "name", "state"), ())
    update = load("wattline.acts.jobacts:update")
    update(client, dry_run=False, jobs="3", where=None, **filters, **options)
    assert client.changes == changes


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("enroll ada --site x", "Missing option '--role'. Choose from: agent, gateway, "),
        ("power events", "no verb 'power events'. Did you mean 'power event'?"),
        ("power --nosuch", "See `wattline power --help`."),
        ("power event add", "See `wattline power event add --help`."),
        ("key del k", "no verb 'key del'. Expected 'key add', 'key ls', 'key usage', "),
        ("model compar", "no verb 'model compar'. Did you mean 'model compare'?"),
        ("rollout", "Missing argument 'NAME'. Name of the service."),
        ("power whatif feed 25%", "Did you mean `wattline power whatif feed --less 25%`?"),
        ("power restore --reason a a", "mean `wattline power restore --reason a --domain a`?"),
        ("power shed 25% pdu --for 3h", "mean `wattline power shed 25% --domain pdu --for 3h`?"),
        ("power shed pdu 25%", "unexpected '25%'. AMOUNT is one word: Amount to shed: 25%, "),
        ("power shed 25% -d pdu other", "unexpected 'other'. AMOUNT is one word"),
        ("cancel 11 8", "unexpected '8'. JOBS is one word: Numbers, ranges and lists as in 3-5,8"),
        ("jobs 11 8", "unexpected '11' and '8': this verb takes options only."),
        ("jobs 11", "takes options only. One is shown by `wattline job 11`."),
        ("nodes n1", "One is shown by `wattline node n1`."),
        ("meters pdu", "this verb takes options only. See `wattline meters --help`."),
        ("submt", "no verb 'submt'. Did you mean 'submit'?"),
        ("squeue", "no verb 'squeue'. Slurm's squeue is `wattline jobs` (docs/from-slurm.md)."),
        ("help sbatch", "Slurm's sbatch is `wattline submit`"),
        ("help scontrol hold 3", "Slurm's scontrol hold is `wattline hold`; a hold of "),
        ("scontrol", "no verb 'scontrol'. Slurm's scontrol is `wattline update` of jobs, "),
        ("scontrol show nodes", "Slurm's scontrol show node is `wattline node` (docs/from-sl"),
        ("scontrol update nodename=n1 state=resume", "State=RESUME is `wattline undrain`"),
        ("scontrol update jobid=3 priority=7", "update JobId= is `wattline update`, also for "),
        ("scontrol ping", "Slurm's scontrol ping: Any verb: exit code 5 means"),
        ("sacctmgr list user", "sacctmgr has no counterpart as a command: accounts, queues and "),
        ("sacct -j 3", "Slurm's sacct is `wattline jobs --all`, `wattline job` (attempts, "),
        ("sstat -j 3", "Slurm's sstat is `wattline job` for energy, GPU time "),
        ("sdiag", "Slurm's sdiag has no counterpart. `wattline problems` lists what is wrong"),
        ("srun --pty bash", "Slurm's srun --pty is `wattline run --pty`: a shell on the "),
        ("kubectl get pods -A", "kubectl get pods is `wattline jobs` (docs/from-slurm.md)."),
        ("kubectl top", "no verb 'kubectl'. kubectl top is `wattline top`"),
        ("help submt", "no verb 'submt'. Did you mean 'submit'?"),
        ("help node of", "no verb 'node of'. Did you mean 'node off'?"),
        ("help reserv", "Did you mean 'reserve', 'unreserve' or 'reservations'?"),
        ("help job 12", "no verb 'job 12'. See `wattline job --help`."),
    ],
)
def test_a_word_too_few_or_wrong_is_named(
    words: str, error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words.split()) == exits.USAGE
    assert error in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["sim"], ["replay"], ["power", "event"]], ids=" ".join)
def test_a_group_without_its_verb_prints_its_help(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == exits.USAGE
    shown = capsys.readouterr()
    assert not shown.out
    lines = shown.err.splitlines()
    assert lines[0].startswith(f"Usage: {' '.join(['wattline', *words])} ")
    assert len(lines) > 5


@pytest.mark.parametrize(
    ("words", "has_hint"),
    [
        (["--gpus", "1", "python", "train.py"], True),
        (["python", "train.py", "--epochs", "3"], True),
        (["--gpu", "1", "--", "python", "train.py"], False),
        (["job.toml", "--gpus", "x"], False),
    ],
)
def test_a_command_without_dashes_gets_the_hint(
    words: list[str], has_hint: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["submit", *words]) == exits.USAGE
    assert ("A command follows after `--`." in capsys.readouterr().err) == has_hint
