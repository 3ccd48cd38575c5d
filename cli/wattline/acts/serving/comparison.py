"""What a comparison of two services shows: agreement, latency, memory and energy. No I/O."""

from collections.abc import Callable, Sequence
from math import ceil
from typing import Literal

import msgspec

from wattline.client.samples import Answered, Refused
from wattline_protocol.views.service_views import ServiceView, WorkerView

Answer = Answered | Refused
Verdict = Literal["equal", "different", "uncompared"]


class ComparedService(msgspec.Struct, frozen=True):
    """One of the two."""

    name: str
    answered: int
    failed: int
    first_failure: str
    """Empty: none failed."""
    p50_ms: float | None
    """At the client, of answered samples; None: there is none."""
    p95_ms: float | None
    joules_per_1000_requests: float | None
    """Of answered samples that were measured, without idle energy; None: none was."""
    joules_per_1000_tokens: float | None
    measured: int
    tokens: int
    """Of these."""
    gpu_memory_bytes: int | None
    """Of a replica, the most; None: unknown."""
    memory_bytes: int | None


class ModelComparison(msgspec.Struct, frozen=True):
    """Two services over the same samples."""

    samples: int
    compare: str
    equal: int
    different: int
    uncompared: int
    """One of the two gave no output, or the model did not compare."""
    agreement: float | None
    """Share of equal ones among those compared; None: none was."""
    a: ComparedService
    b: ComparedService


def comparison(
    compare: str,
    views: tuple[ServiceView | None, ServiceView | None],
    names: tuple[str, str],
    pairs: Sequence[tuple[Answer, Answer]],
    verdicts: Sequence[Verdict],
) -> ModelComparison:
    """`pairs` and `verdicts`: of each sample."""
    equal, different = verdicts.count("equal"), verdicts.count("different")
    first, second = (
        _service(name, view, [pair[at] for pair in pairs])
        for at, (name, view) in enumerate(zip(names, views, strict=True))
    )
    return ModelComparison(
        samples=len(pairs),
        compare=compare,
        equal=equal,
        different=different,
        uncompared=len(pairs) - equal - different,
        agreement=equal / (equal + different) if equal + different else None,
        a=first,
        b=second,
    )


def _service(name: str, view: ServiceView | None, answers: Sequence[Answer]) -> ComparedService:
    answered = [one for one in answers if isinstance(one, Answered)]
    refused = [one for one in answers if isinstance(one, Refused)]
    times_s = sorted(one.seconds for one in answered)
    joules = [(one.joules, one.tokens) for one in answered if one.joules is not None]
    total_j, tokens = sum(j for j, _ in joules), sum(count for _, count in joules)
    return ComparedService(
        name=name,
        answered=len(answered),
        failed=len(refused),
        first_failure=refused[0].text if refused else "",
        p50_ms=_quantile_ms(times_s, 0.50),
        p95_ms=_quantile_ms(times_s, 0.95),
        joules_per_1000_requests=total_j / len(joules) * 1000 if joules else None,
        joules_per_1000_tokens=total_j / tokens * 1000 if tokens else None,
        measured=len(joules),
        tokens=tokens,
        gpu_memory_bytes=_most(view, lambda worker: worker.gpu_memory_bytes),
        memory_bytes=_most(view, lambda worker: worker.memory_bytes),
    )


def _quantile_ms(times_s: Sequence[float], share: float) -> float | None:
    """The least time that so large a share of the answers did not exceed."""
    if not times_s:
        return None
    return times_s[max(1, ceil(share * len(times_s))) - 1] * 1000


def _most(view: ServiceView | None, of: Callable[[WorkerView], int | None]) -> int | None:
    workers = () if view is None else view.workers
    return max((size for worker in workers if (size := of(worker)) is not None), default=None)
