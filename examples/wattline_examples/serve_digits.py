"""Serves what `wattline_examples.train_digits` trained: the example of a service, and the demo's.

    python -m wattline_runtime.serve --model wattline_examples.serve_digits:Digits \\
        --arg checkpoints=DIRECTORY

Input: 64 numbers from 0 to 16, the rows of an 8 × 8 image. Output: {"digit", "confidence"}.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from wattline import task
from wattline_examples.digits_net import BRIGHTEST, PIXELS, DigitsNet
from wattline_runtime.serve.model import InputRefused


class Digits:
    """`checkpoints`: the training job's checkpoint directory; its newest intact one is served.
    `model`: instead, a model that the job names in its `[data] datasets`."""

    def load(self, args: Mapping[str, str]) -> None:
        """Raises FileNotFoundError when there is no intact checkpoint, naming the damaged ones, and
        LookupError for a model that the job does not name."""
        model = args.get("model")
        state_file = task.data_path(model) / "data" if model else _newest(args)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        net = torch.load(state_file, map_location=self._device, weights_only=True)["net"]
        width = len(net["first.weight"])
        blocks = len({name.split(".")[1] for name in net if name.startswith("blocks.")})
        self._net = DigitsNet(width, blocks).to(self._device).eval()
        self._net.load_state_dict(net)
        print(f"serving {state_file}", flush=True)

    def predict(self, batch: list[Any]) -> list[Any]:
        """Classify; inputs that are no image are refused one by one."""
        good = [value for value in batch if _problem(value) is None]
        answers = iter(self._classify(good) if good else [])
        problems = (_problem(value) for value in batch)
        return [next(answers) if p is None else InputRefused(p) for p in problems]

    def _classify(self, images: list[list[float]]) -> list[dict[str, float]]:
        pixels = torch.tensor(images, dtype=torch.float32, device=self._device)
        confidence, digit = torch.softmax(self._net(pixels), dim=1).max(dim=1)
        return [
            {"digit": d, "confidence": round(c, 4)}
            for d, c in zip(digit.tolist(), confidence.tolist(), strict=True)
        ]


def _newest(args: Mapping[str, str]) -> Path:
    """The data of the newest intact checkpoint."""
    directory = args.get("checkpoints") or task.checkpoint_dir()
    damaged: list[task.Rejected] = []
    found = task.latest(directory, from_scratch=True, on_reject=damaged.append)
    if found is None:
        why = "".join(f"; {r.directory.name}: {r.reason}" for r in damaged)
        raise FileNotFoundError(f"no intact checkpoint in {directory}{why}")
    return found.path


def _problem(value: Any) -> str | None:
    if not isinstance(value, list) or len(value) != PIXELS:
        got = f"{len(value)} values" if isinstance(value, list) else type(value).__name__
        return f"an input is a list of {PIXELS} numbers, not {got}"
    for position, pixel in enumerate(value):
        if isinstance(pixel, bool) or not isinstance(pixel, int | float):
            return f"pixel {position} is no number"
        if not 0 <= pixel <= BRIGHTEST:
            return f"pixel {position} is {pixel}, not from 0 to {BRIGHTEST:.0f}"
    return None
