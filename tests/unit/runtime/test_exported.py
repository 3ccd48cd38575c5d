"""Programs of `torch.export` as models."""

from collections import deque
from pathlib import Path
from typing import Any

import pytest
import torch

from wattline_runtime.serve.batcher import Failed, Output
from wattline_runtime.serve.model import Model, ModelNotFound, find_model, run_batch
from wattline_runtime.serve.warm_up import warm_up


class Sum(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sum(dim=1)


class Both(torch.nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"sum": x + y, "product": x * y}


def loaded(path: Path, module: torch.nn.Module, *examples: torch.Tensor, fixed: bool) -> Model:
    batch = torch.export.Dim("batch")
    names = ["x", "y"][: len(examples)]
    shapes = None if fixed else {name: {0: batch} for name in names}
    program = torch.export.export(module, examples, dynamic_shapes=shapes)
    torch.export.save(program, path)
    model = find_model(str(path))()
    progress = model.load({"device": "cpu"})
    assert progress is not None
    deque(progress)
    return model


@pytest.mark.parametrize("fixed", [True, False])
def test_a_program_answers_batches_of_any_size(tmp_path: Path, *, fixed: bool) -> None:
    model = loaded(tmp_path / "sum.pt2", Sum(), torch.ones(2, 3), fixed=fixed)
    for count in (1, 2, 5):
        values: list[Any] = [[float(n), 1.0, 1.0] for n in range(count)]
        expected = tuple(Output(f"{n + 2}.0".encode()) for n in range(count))
        assert run_batch(model, values) == expected
    assert [run.count for run in warm_up(model, 4).runs] == [1, 2, 4]


def test_several_inputs_and_named_outputs(tmp_path: Path) -> None:
    examples = (torch.ones(2, 2), torch.ones(2, 2))
    model = loaded(tmp_path / "both.pt2", Both(), *examples, fixed=False)
    values: list[Any] = [[[1, 2], [3, 4]], [[0, 0], [5, 6]]]
    assert run_batch(model, values) == (
        Output(b'{"sum":[4.0,6.0],"product":[3.0,8.0]}'),
        Output(b'{"sum":[5.0,6.0],"product":[0.0,0.0]}'),
    )
    assert warm_up(model, 1).runs


def test_what_is_no_such_tensor_is_refused_alone(tmp_path: Path) -> None:
    model = loaded(tmp_path / "sum.pt2", Sum(), torch.ones(2, 3), fixed=False)
    outcomes = run_batch(model, [[1, 2], "x", [1, 1, 1], None])
    assert not isinstance(outcomes, Failed)
    assert [one.reason for one in outcomes if isinstance(one, Failed)] == ["bad_input"] * 3
    assert outcomes[2] == Output(b"3.0")
    assert outcomes[0] == Failed("bad_input", "tensor 0 is [2], not [3]")


def test_a_file_that_is_missing_is_named() -> None:
    with pytest.raises(ModelNotFound, match=r"no file missing\.pt2"):
        find_model("missing.pt2")
