"""Curves that the data does not identify, and which fitted one stands in."""

from wattline_scheduler.power.demand.models.fitted import Nearest, Phase

TRAINED = ("v100", "a40", "rtx6000")

NO_SERVING = "no capped serving run on this GPU; "


def stand_ins() -> list[Nearest]:
    """Every GPU class and phase without a fit of its own."""
    found = [
        _near("h200", "training_light", "h200", "training_hot", "no light job among the runs"),
        _near("h200", "prefill", "h200", "training_hot", "dense full-sequence passes, as prefill"),
    ]
    for gpu in TRAINED:
        found += [
            _near(gpu, "prefill", gpu, "training_hot", NO_SERVING + "dense work as in training"),
            _near(gpu, "decode", gpu, "training_light", NO_SERVING + "memory-bound as light jobs"),
        ]
    phases: tuple[Phase, ...] = ("training_hot", "training_light", "prefill", "decode")
    for phase in phases:
        why = "no run under a stated limit; the newest GPU that has one"
        found.append(_near("b200", phase, "h200", phase, why))
        why = "no run under a stated limit; the data-centre GPU of the generation before"
        found.append(_near("a100", phase, "v100", phase, why))
    return found


def _near(gpu: str, phase: Phase, use_gpu: str, use_phase: Phase, why: str) -> Nearest:
    return Nearest(gpu=gpu, phase=phase, use_gpu=use_gpu, use_phase=use_phase, why=why)
