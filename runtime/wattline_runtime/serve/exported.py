"""Serves a program of `torch.export` (`--model file.pt2`): tensors in, tensors out, without code.

An input is a nested list of numbers, the program's tensor without its first dimension, which is the
batch; of a program with several inputs a list of these. An output likewise.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from wattline_runtime.serve.model import InputRefused


class ExportedModel:
    """A program, with its example inputs as the warm-up."""

    path: Path

    def load(self, args: Mapping[str, str]) -> Iterator[str]:
        """`--arg device=cuda`: default the first GPU, if there is one."""
        device = args.get("device") or ("cuda" if torch.cuda.is_available() else "cpu")
        yield f"reading {self.path.name}"
        program = torch.export.load(self.path)
        if program.example_inputs is None or program.example_inputs[1]:
            raise ValueError(f"{self.path} has no positional example inputs: export it with them")
        examples = program.example_inputs[0]
        if not examples or not all(isinstance(x, torch.Tensor) and x.ndim for x in examples):
            raise ValueError(f"{self.path} has inputs that are no tensors with a batch dimension")
        self._examples: tuple[torch.Tensor, ...] = examples
        self._device = torch.device(device)
        self._module = program.module().to(self._device)
        self._fixed = _fixed_batch(program)
        yield f"runs on {device}"

    def example(self) -> list[Any]:
        """The first row of the inputs that it was exported with."""
        rows = [tensor[0].tolist() for tensor in self._examples]
        return rows if len(rows) == 1 else [rows]

    def predict(self, batch: list[Any]) -> list[Any]:
        """A program of a fixed batch size runs as often as needed, filled up with its last row."""
        rows = [self._tensors(value) for value in batch]
        good = [row for row in rows if not isinstance(row, InputRefused)]
        size = self._fixed or max(1, len(good))
        outputs: list[Any] = []
        for begin in range(0, len(good), size):
            part = good[begin : begin + size]
            filled = part + part[-1:] * ((self._fixed or len(part)) - len(part))
            result = self._module(*(torch.stack(column) for column in zip(*filled, strict=True)))
            outputs.extend(_rows(result, len(part)))
        answers = iter(outputs)
        return [row if isinstance(row, InputRefused) else next(answers) for row in rows]

    def _tensors(self, value: Any) -> tuple[torch.Tensor, ...] | InputRefused:
        """One row of each input of the program."""
        given = [value] if len(self._examples) == 1 else value
        if not isinstance(given, list) or len(given) != len(self._examples):
            return InputRefused(f"an input is a list of {len(self._examples)} tensors")
        found: list[torch.Tensor] = []
        for number, (one, example) in enumerate(zip(given, self._examples, strict=True)):
            try:
                tensor = torch.tensor(one, dtype=example.dtype, device=self._device)
            except (TypeError, ValueError, RuntimeError) as error:
                return InputRefused(f"tensor {number}: {error}")
            if tensor.shape != example.shape[1:]:
                wanted = list(example.shape[1:])
                return InputRefused(f"tensor {number} is {list(tensor.shape)}, not {wanted}")
            found.append(tensor)
        return tuple(found)


def model_of(path: Path) -> type[ExportedModel]:
    """A class for this file; the file is read when it is loaded."""
    return type("Exported", (ExportedModel,), {"path": path})


def _fixed_batch(program: torch.export.ExportedProgram) -> int:
    """The batch size that the program was exported for; 0: any."""
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in program.graph_signature.user_inputs:
            size = node.meta["val"].shape[0]
            return size if isinstance(size, int) else 0
    return 0


def _rows(result: Any, count: int) -> list[Any]:
    """The first rows of a tensor, or of each tensor of a dict, a list or a tuple."""
    if isinstance(result, torch.Tensor):
        return list(result[:count].tolist())
    if isinstance(result, dict):
        named = {name: tensor[:count].tolist() for name, tensor in result.items()}
        return [{name: rows[i] for name, rows in named.items()} for i in range(count)]
    columns = [tensor[:count].tolist() for tensor in result]
    return [[rows[i] for rows in columns] for i in range(count)]
