"""Compares two services by the same samples: does a smaller model answer as the larger one?"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import cycle
from pathlib import Path
from queue import SimpleQueue

from wattline import exits
from wattline.acts.serving.comparison import Answer, ModelComparison, Verdict, comparison
from wattline.acts.serving.infer import gateway_key, gateway_url
from wattline.client import Client
from wattline.client.gateway_http import GatewayHttp
from wattline.client.samples import MAX_SAMPLES, Answered, Asker, BadSample, Sample, parse_sample
from wattline.failures import ActFailed
from wattline.show.screen import put_error
from wattline.verbs.run import Outcome
from wattline_protocol.text.json_alike import alike
from wattline_protocol.text.wording import counted
from wattline_protocol.views.service_views import ServiceView
from wattline_protocol.wire.rollouts import BY_MODEL, tolerance_of

MAX_USERS = 256
VERDICTS: dict[bool | None, Verdict] = {True: "equal", False: "different", None: "uncompared"}


def compare(
    client: Client,
    *,
    a: str,
    b: str,
    samples: str,
    url: str | None,
    key_file: str | None,
    compare: str,
    users: int,
) -> Outcome:
    """Answer each sample by both; the exit code is 1 if one failed."""
    try:
        tolerance = tolerance_of(compare)
    except ValueError as error:
        raise ActFailed(f"--compare: {error}", exits.USAGE) from error
    if not 1 <= users <= MAX_USERS:
        raise ActFailed(f"--users is 1 to {MAX_USERS}, not {users}", exits.USAGE)
    gateway = GatewayHttp(gateway_url(url), gateway_key(key_file))
    given = read_samples(samples)
    views = _view(client, a), _view(client, b)
    is_by_model = compare == BY_MODEL
    if is_by_model:
        require_method(gateway, b)
    put_error(f"{counted(len(given), 'sample')} to {a} and {b}")
    pairs = answer_all(gateway, (a, b), given, users)
    verdicts = judge_by_model(gateway, b, pairs) if is_by_model else judge(pairs, tolerance)
    found = comparison(compare, views, (a, b), pairs, verdicts)
    return Outcome(found, status(found))


def status(found: ModelComparison) -> int:
    """1: a sample has no output."""
    return exits.FAILED if found.a.failed or found.b.failed else exits.OK


def _view(client: Client, name: str) -> ServiceView | None:
    """None: a route, whose services may be many. Raises NotFound."""
    found = client.service_or_route(name)
    return found if isinstance(found, ServiceView) else None


def read_samples(path: str) -> list[Sample]:
    """Raises ActFailed with the line that is none."""
    found: list[Sample] = []
    try:
        with Path(path).open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                if len(found) == MAX_SAMPLES:
                    text = f"more than {MAX_SAMPLES:,} samples"
                    raise ActFailed(f"--samples {path}: {text}", exits.USAGE)
                try:
                    found.append(parse_sample(line))
                except BadSample as error:
                    text = f"--samples {path}, line {number}: {error}"
                    raise ActFailed(text, exits.USAGE) from error
    except OSError as error:
        raise ActFailed(f"--samples {path}: {error.strerror}", exits.USAGE) from error
    if not found:
        raise ActFailed(f"--samples {path} has no sample", exits.USAGE)
    return found


def answer_all(
    gateway: GatewayHttp, names: tuple[str, str], samples: Sequence[Sample], users: int
) -> list[tuple[Answer, Answer]]:
    """The answers of both to each sample. Which of the two is asked first alternates, so that what
    the first request of a pair costs more is shared."""
    askers: SimpleQueue[Asker] = SimpleQueue()
    for _ in range(users):
        askers.put(Asker(gateway))

    def answer(sample: Sample, order: tuple[int, int]) -> tuple[Answer, Answer]:
        asker = askers.get()
        try:
            found = {at: asker.ask(names[at], sample) for at in order}
        finally:
            askers.put(asker)
        return found[0], found[1]

    try:
        with ThreadPoolExecutor(users) as threads:
            return list(threads.map(answer, samples, cycle(((0, 1), (1, 0)))))
    finally:
        for _ in range(users):
            askers.get().close()


def judge(pairs: Sequence[tuple[Answer, Answer]], tolerance: float) -> list[Verdict]:
    """Whether both outputs are equal, as in a rollout with `--shadow`."""
    return [_judged(first, second, tolerance) for first, second in pairs]


def require_method(gateway: GatewayHttp, name: str) -> None:
    """Raises NotFound where the service's model compares no outputs, before samples are sent."""
    with closing(Asker(gateway)) as asker:
        asker.compare(name, b"null", b"null")


def judge_by_model(
    gateway: GatewayHttp, name: str, pairs: Sequence[tuple[Answer, Answer]]
) -> list[Verdict]:
    """By the method `compare` of a service's model; it gets outputs that are not the same bytes."""
    asker = Asker(gateway)

    def judged(first: Answer, second: Answer) -> Verdict:
        verdict = _judged(first, second, 0.0)
        if verdict == "different" and isinstance(first, Answered) and isinstance(second, Answered):
            return VERDICTS[asker.compare(name, first.output, second.output)]
        return verdict

    with closing(asker):
        return [judged(first, second) for first, second in pairs]


def _judged(first: Answer, second: Answer, tolerance: float) -> Verdict:
    if not isinstance(first, Answered) or not isinstance(second, Answered):
        return "uncompared"
    return "equal" if alike(first.output, second.output, tolerance) else "different"
