"""`wattline model compare`: samples, what they show, and the table."""

import io
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from wattline.acts.serving import model_compare
from wattline.acts.serving.comparison import Answer, ModelComparison, comparison
from wattline.acts.serving.model_compare import judge, read_samples, status
from wattline.client import Client
from wattline.client.errors import NotFound
from wattline.client.samples import Answered, Asker, BadSample, Refused, answer_of, parse_sample
from wattline.failures import ActFailed
from wattline.show.serving.model_compare import shown
from wattline_protocol.ids import JobId
from wattline_protocol.views.service_views import ReplicasView, ServiceView, WorkerView


@pytest.mark.parametrize(
    ("line", "path", "body"),
    [
        ('{"input": [1]}', "/v1/services/a%20b/infer", {"input": [1]}),
        (
            '{"messages": [], "model": "x", "top_p": 1}',
            "/v1/chat/completions",
            {"messages": [], "model": "a b", "top_p": 1},
        ),
        ('{"prompt": "p"}', "/v1/completions", {"prompt": "p", "model": "a b"}),
    ],
)
def test_a_sample_is_a_request_to_either_service(line: str, path: str, body: object) -> None:
    asked, data = parse_sample(line.encode()).request("a b")
    assert (asked, msgspec.json.decode(data)) == (path, body)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("[1]", 'expected {"input"'),
        ("{", 'expected {"input"'),
        ("{}", "it has no field"),
        ('{"inputs": [1]}', "it has inputs"),
        ('{"input": 1, "timeout_ms": 3}', "it has input, timeout_ms"),
        ('{"messages": [], "prompt": ""}', "it has messages, prompt"),
        ('{"messages": [], "stream": true}', "leave out `stream`"),
        ('{"input": "' + "x" * 1024 * 1024 + '"}', "at most 1048576"),
    ],
    ids=["list", "torn", "empty", "inputs", "more", "both", "stream", "large"],
)
def test_what_is_no_sample_is_refused_in_words(line: str, why: str) -> None:
    with pytest.raises(BadSample, match=why):
        parse_sample(line.encode())


@pytest.mark.parametrize(
    ("body", "output", "tokens"),
    [
        (b'{"output": [1, null]}', [1, None], 0),
        (b'{"output": null}', None, 0),
        (
            b'{"choices": [{"message": {"content": "x"}}], "usage": {"total_tokens": 5}}',
            [{"content": "x"}],
            5,
        ),
        (b'{"choices": [{"text": "x"}], "id": "y"}', ["x"], 0),
    ],
    ids=["infer", "null", "chat", "completion"],
)
def test_an_answer_has_an_output_and_what_it_took(body: bytes, output: object, tokens: int) -> None:
    found = answer_of(body, {"wattline-joules": "0.5"}, 0.1)
    assert isinstance(found, Answered)
    assert (msgspec.json.decode(found.output), found.tokens, found.joules) == (output, tokens, 0.5)
    unmeasured = answer_of(body, {}, 0.1)
    assert isinstance(unmeasured, Answered)
    assert unmeasured.joules is None


@pytest.mark.parametrize(
    ("body", "joules"),
    [(b"<html>", "1"), (b"[]", "1"), (b'{"output": 1}', "much"), (b'{"output": 1}', "nan")],
    ids=str,
)
def test_an_answer_of_something_else_is_a_failure(body: bytes, joules: str) -> None:
    found = answer_of(body, {"wattline-joules": joules}, 0.1)
    assert isinstance(found, Refused)
    assert "none of a service" in found.text


def test_a_file_names_the_line_that_is_none(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"input": 1}\n\n{"input": 2}\n')
    assert len(read_samples(str(file))) == 2
    file.write_text('{"input": 1}\n{"in": 2}\n')
    with pytest.raises(ActFailed, match="line 2: it has in; expected"):
        read_samples(str(file))
    file.write_text("\n")
    with pytest.raises(ActFailed, match="has no sample"):
        read_samples(str(file))
    with pytest.raises(ActFailed, match="No such file"):
        read_samples(str(tmp_path / "none"))


def service(name: str, *gpu_memory_bytes: int | None) -> ServiceView:
    workers = tuple(
        WorkerView(f"7.{at}#1", "n", "ready", gpu_memory_bytes=size, memory_bytes=1 << 30)
        for at, size in enumerate(gpu_memory_bytes)
    )
    return ServiceView(name, "ada", JobId(7), ReplicasView(1, 1, 1, 1), workers, "", "", "", None)


def compared() -> ModelComparison:
    large: list[Answer] = [Answered(b"%d" % n, 0.001 * (n + 1), 2.0, tokens=10) for n in range(20)]
    small: list[Answer] = [Answered(b"%d" % (n + (n == 3)), 0.0005 * (n + 1)) for n in range(19)]
    small.append(Refused("503: no worker (no_worker)"))
    pairs = list(zip(large, small, strict=True))
    views = service("large", 80 << 30, None), service("small")
    return comparison("equal", views, ("large", "small"), pairs, judge(pairs, 0.0))


def test_what_a_comparison_counts() -> None:
    found = compared()
    assert (found.equal, found.different, found.uncompared) == (18, 1, 1)
    assert found.agreement == pytest.approx(18 / 19)
    assert found.a.p50_ms == pytest.approx(10)
    assert found.a.p95_ms == pytest.approx(19)
    assert (found.a.joules_per_1000_requests, found.a.joules_per_1000_tokens) == (2000.0, 200.0)
    assert (found.b.joules_per_1000_requests, found.b.measured) == (None, 0), "not measured"
    assert (found.a.gpu_memory_bytes, found.b.gpu_memory_bytes) == (80 << 30, None)
    assert (found.b.failed, found.b.first_failure) == (1, "503: no worker (no_worker)")
    assert status(found) == 1


def test_a_model_that_compares_nothing_is_refused_before_samples_are_sent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[str] = []

    def post(_: Asker, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        asked.append(path)
        return 404, {}, b'{"error": {"message": "no method compare", "reason": "no_method"}}'

    monkeypatch.setattr(Asker, "post", post)
    monkeypatch.setattr(model_compare, "_view", lambda client, name: None)
    file = tmp_path / "rows.jsonl"
    file.write_text('{"input": 1}\n')
    how: dict[str, Any] = {"samples": str(file), "url": "http://127.0.0.1:1", "key_file": None}
    with pytest.raises(NotFound, match="no method compare"):
        model_compare.compare(
            Client.__new__(Client), a="large", b="small", compare="model", users=1, **how
        )
    assert asked == ["/v1/services/small/compare"]


def test_numbers_within_the_tolerance_agree() -> None:
    pairs: list[tuple[Answer, Answer]] = [(Answered(b"[1.0]", 1.0), Answered(b"[1.0005]", 1.0))]
    assert judge(pairs, 0.0) == ["different"]
    assert judge(pairs, 1e-3) == ["equal"]


def test_the_table_has_both_and_their_ratio() -> None:
    console = Console(file=io.StringIO(), width=80, color_system=None)
    with console.capture() as captured:
        console.print(shown(compared()), highlight=False, markup=False)
    lines = [" ".join(line.split()) for line in captured.get().splitlines()]
    assert lines[0] == "large small B / A"
    assert "latency p50 10 ms 5 ms 0.5" in lines
    assert "1,000 requests 2 kJ not measured" in lines
    assert "GPU memory 80 GiB -" in lines
    assert "agreement: 95 %: 18 equal, 1 different, 1 not compared" in lines
    assert lines[-1] == "small: 503: no worker (no_worker)"
