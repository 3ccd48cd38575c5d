"""Data sets in job files: `NAME@v3`, or `NAME@stable` for the version that an alias names."""

from wattline_protocol.data.references import LATEST, parse_reference, version_text
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.text.names import check_name
from wattline_protocol.text.toml_fields import text, texts

MAX_DATASETS = 50
MAX_OUTPUTS = 50
CHECKPOINTS = "checkpoints/"
CHECKPOINT_VARIABLE = "WATTLINE_STORED_CHECKPOINT"
"""Has the path of the checkpoint that the node has brought from the store."""
VARIABLE_PREFIX = "WATTLINE_DATA_"
MODEL_VARIABLE = "WATTLINE_MODEL"
"""Has the path of the model that a service serves."""
OUTPUT_VARIABLE = "WATTLINE_OUTPUT"
"""Has the path of the directory whose content becomes a version."""


def datasets(value: object) -> tuple[str, ...]:
    """Data sets with their versions."""
    items = texts(MAX_DATASETS)(value)
    for item in items:
        _check(item, "imagenet@v3")
    return items


def model(value: object) -> str:
    """The version of a model."""
    return _check(text(value), "net@v2")


def makes(value: object) -> str:
    """The data set of which the job makes a version."""
    if "@" in (name := text(value)):
        raise ValueError(f'"{name}": expected a name without a version, as in "features"')
    return check_name(name)


def rebuilds(value: object) -> str:
    """The version that the job makes again."""
    reference = parse_reference(item := text(value))
    if not reference.number:
        raise ValueError(f'"{item}": expected a version, as in "{version_text("features", 1)}"')
    return item


def is_latest(item: str) -> bool:
    """Whether a data set of a job is the newest version, whichever that is."""
    return item.endswith(f"@{LATEST}")


def outputs(value: object) -> tuple[str, ...]:
    """What is kept of a job."""
    items = tuple(dict.fromkeys(texts(MAX_OUTPUTS)(value)))
    for item in items:
        if item.rstrip("/") != CHECKPOINTS.rstrip("/"):
            raise ValueError(
                f'"{item}": only "{CHECKPOINTS}" can be kept, the checkpoints that the job '
                "publishes; other files: wattline data add"
            )
    return (CHECKPOINTS,) if items else ()


def store_secret(value: object) -> str:
    """An entry of the job's owner."""
    return check_name(text(value))


def _check(item: str, example: str) -> str:
    if "@" not in item:
        raise ValueError(f'"{item}": expected NAME@VERSION, as in "{example}"')
    parse_reference(item)
    return item


def variable_of(name: str) -> str:
    """The variable that has the path of a data set."""
    return VARIABLE_PREFIX + name.upper().replace("-", "_").replace(".", "_")


def data_problems(job: JobSpec) -> list[tuple[str, bool, str]]:
    """(key, whether it is wrong, what would be right)."""
    seen: dict[str, str] = {}
    twice = ""
    for item in job.data.datasets:
        variable = variable_of(item.partition("@")[0])
        if variable in seen:
            twice = f"{seen[variable]} and {item} have one variable, {variable}: omit one of them"
        seen[variable] = item
    keeps, is_single = bool(job.data.outputs), job.array is None and job.kind != "service"
    no_data = bool(job.data.check) and not job.data.datasets
    has_output = job.data.has_output
    key = "data.makes" if job.data.makes else "data.rebuilds"
    return [
        (
            "data.rebuilds",
            bool(job.data.makes and job.data.rebuilds),
            "omit data.makes: a version that is made again is compared, not published",
        ),
        (
            "data.makes_model",
            job.data.makes_model and not job.data.makes,
            "name the model: data.makes",
        ),
        (
            key,
            has_output and job.kind == "service",
            "a service does not end, so that it publishes no version",
        ),
        (
            key,
            has_output and job.array is not None,
            "an array has many outputs, a version has one: make it in a dependent job",
        ),
        ("data.datasets", bool(twice), twice),
        ("data.check", no_data, "it checks versions of data sets: name some in data.datasets"),
        (
            "data.outputs",
            keeps and not is_single,
            "checkpoints are kept only for a job of one gang: no array, no service",
        ),
        (
            "data.outputs",
            keeps and bool(job.recovery.checkpoints),
            "checkpoints of recovery.checkpoints are not kept: save with wattline.task, or omit it",
        ),
        (
            "data.outputs",
            keeps and not job.data.store_secret,
            'name your secret with the keys of the store: store_secret = "store" in [data]',
        ),
        (
            "data.store_secret",
            bool(job.data.store_secret) and not (keeps or job.data.makes),
            "it opens the store for data.outputs or data.makes: name one of them",
        ),
    ]
