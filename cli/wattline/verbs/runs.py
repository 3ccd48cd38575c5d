"""Verbs about records of runs."""

from functools import partial

from wattline.verbs.verb import Argument, Option, Verb

_RUN_HELP = "A run: a job's number or `last`; 12.7 an index of an array; 17#2 its attempt 2."
_verb = partial(Verb, section="Jobs", role="submitter")

VERBS = (
    _verb(
        name="runs",
        help="List runs: training and batch jobs that have started, newest last.",
        details="A run is one attempt; a job's number names its newest one.",
        act="wattline.runs.acts:runs",
        lists=("wattline.runs.show:LIST",),
        args=(
            Option("name", ("--name", "-J"), "Only jobs whose name matches.", many=True),
            Option("user", ("--user", "-u"), "Only jobs of this user; may be repeated.", many=True),
            Option(
                "lines",
                ("--lines", "-n"),
                "Jobs, the newest, before --where.",
                "integer",
                50,
            ),
        ),
        examples=("wattline runs --name 'digits-*'",),
    ),
    _verb(
        name="runs show",
        help="Show a run: command, parameters, metrics, code, packages, energy.",
        details="Read by its owner and by operators, as its log. Of variables only names.",
        act="wattline.runs.acts:show",
        show="wattline.runs.show:detail",
        args=(Argument("run", _RUN_HELP),),
        examples=("wattline runs show last", "wattline runs show '12.7#2' --json"),
    ),
    _verb(
        name="runs compare",
        help="Compare two runs: settings that differ, then metrics and energy.",
        act="wattline.runs.acts:compare",
        show="wattline.runs.show:comparison",
        args=(Argument("a", _RUN_HELP), Argument("b", "The other one.")),
        examples=("wattline runs compare 17 18",),
    ),
    _verb(
        name="runs export",
        help="Write a run that has ended to an MLflow tracking server.",
        details="Needs the extra `mlflow`. A run that is there already is refused.",
        act="wattline.runs.acts:export",
        show="wattline.runs.show:exported",
        args=(
            Argument("run", _RUN_HELP),
            Option(
                "mlflow",
                ("--mlflow",),
                "Tracking URI, as in http://127.0.0.1:5000.",
                metavar="URI",
                required=True,
            ),
            Option("experiment", ("--experiment",), "Experiment. Default: the job's name."),
        ),
        examples=("wattline runs export 17 --mlflow http://127.0.0.1:5000",),
    ),
)
