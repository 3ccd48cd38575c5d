"""Finding, measuring and running a user's model class."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from wattline_examples.serve_echo import Echo
from wattline_runtime.serve.batcher import Failed, Output
from wattline_runtime.serve.model import (
    Embedding,
    InputRefused,
    ModelNotFound,
    find_model,
    measure,
    run_batch,
)


class Doubler:
    def load(self, args: object) -> None: ...

    def predict(self, batch: list[Any]) -> list[Any]:
        return [value * 2 for value in batch]

    def cost(self, value: Any) -> int:
        return len(value)


class Fixed(Doubler):
    def __init__(self, result: Any) -> None:
        self.result = result

    def predict(self, batch: list[Any]) -> list[Any]:
        if isinstance(self.result, Exception):
            raise self.result
        outputs: list[Any] = self.result
        return outputs


def test_a_class_is_found_by_module_and_by_file(tmp_path: Path) -> None:
    assert find_model("wattline_examples.serve_echo:Echo") is Echo
    path = tmp_path / "my_model.py"
    path.write_text("class M:\n def load(self, a): ...\n def predict(self, b): return b\n")
    assert find_model(f"{path}:M").__name__ == "M"


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("no_colon", "not of the form"),
        (":M", "not of the form"),
        ("wattline_runtime.serve.ecko:Echo", "no module wattline_runtime.serve.ecko"),
        ("wattline_examples.serve_echo:Ecko", "has no class Ecko"),
        ("wattline_runtime.wire:Reply", "no method load and no predict"),
        ("/nowhere/model.py:M", "no file /nowhere/model.py"),
    ],
)
def test_a_wrong_reference_says_what_is_wrong(reference: str, why: str) -> None:
    with pytest.raises(ModelNotFound, match=why):
        find_model(reference)


def test_an_import_that_the_users_module_lacks_is_not_blamed_on_the_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "needy_model.py").write_text("import a_package_nobody_has\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_package_nobody_has"):
        find_model("needy_model:M")


def test_cost_is_at_least_one_and_length_optional() -> None:
    assert measure(Doubler(), "abc") == (3, 0)
    assert measure(Doubler(), "") == (1, 0)
    assert measure(Echo(), "abc") == (1, 3)


def test_outputs_are_json_and_arrays_become_lists() -> None:
    import numpy as np

    assert run_batch(Doubler(), [1, "a"]) == (Output(b"2"), Output(b'"aa"'))
    assert run_batch(Fixed([np.arange(3)]), [0]) == (Output(b"[0,1,2]"),)


@pytest.mark.parametrize(
    ("result", "reason", "detail"),
    [
        (KeyError("secret"), "model_error", "the model raised KeyError"),
        (InputRefused("too long"), "bad_input", "too long"),
        ([1, 2], "model_error", "2 outputs for a batch of 1"),
        ("text", "model_error", "returned str"),
    ],
)
def test_a_batch_that_fails_says_why_without_the_models_internals(
    result: Any, reason: str, detail: str, capfd: pytest.CaptureFixture[str]
) -> None:
    outcome = run_batch(Fixed(result), ["x"])
    assert isinstance(outcome, Failed)
    assert outcome.reason == reason
    assert detail in outcome.detail
    assert "secret" not in outcome.detail
    assert ("secret" in capfd.readouterr().err) == isinstance(result, KeyError)


def test_one_bad_output_fails_alone() -> None:
    outcomes = run_batch(Fixed([1, object(), InputRefused("no"), "x" * 2_000_000]), [0] * 4)
    assert isinstance(outcomes, tuple)
    assert outcomes[0] == Output(b"1")
    reasons = [o.reason for o in outcomes if isinstance(o, Failed)]
    assert reasons == ["model_error", "bad_input", "output_too_large"]


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_fail_their_request_alone(number: float) -> None:
    import numpy as np

    bad = [number, {"a": [1, (None, number)]}, np.array([[1.0, number]])]
    outcomes = run_batch(Fixed([*bad, {"a": None}, "null"]), [0] * 5)
    assert isinstance(outcomes, tuple)
    for outcome in outcomes[:3]:
        assert isinstance(outcome, Failed)
        assert (outcome.reason, "NaN or infinity" in outcome.detail) == ("model_error", True)
    assert outcomes[3:] == (Output(b'{"a":null}'), Output(b'"null"'))


def test_a_model_may_allow_nan() -> None:
    class Allowing(Fixed):
        allow_nan = True

    assert run_batch(Allowing([[math.nan, 1.0]]), [0]) == (Output(b"[null,1.0]"),)


def test_an_endless_output_is_no_json() -> None:
    endless: list[Any] = []
    endless.append(endless)
    outcomes = run_batch(Fixed([endless]), [0])
    assert isinstance(outcomes, tuple)
    assert [o.reason for o in outcomes if isinstance(o, Failed)] == ["model_error"]


def test_a_count_of_tokens_that_raises_fails_its_batch_only() -> None:
    class Miscounting:
        def load(self, args: Mapping[str, str]) -> None:
            """Nothing to load."""

        def embed(self, texts: list[str]) -> list[Any]:
            return [[10**400] for _ in texts]

        def tokens(self, text: str) -> int:
            return {"known": 1}[text]

    for text, why in (("unknown", "KeyError"), ("known", "must be a vector")):
        outcome = run_batch(Miscounting(), [Embedding({"input": text}, [text])])
        failed = outcome if isinstance(outcome, Failed) else outcome[0]
        assert isinstance(failed, Failed)
        assert (failed.reason, why in failed.detail) == ("model_error", True)
