"""Requests whose answers are huge, with real processes."""

from pathlib import Path

from support.programs.serving_stack import SERVICE, Stack, serving_stack, wait_for
from wattline_runtime.gateway.answers.answer_size import MAX_ANSWER_BYTES

OUTPUT_BYTES = 1_000_000
MOST = MAX_ANSWER_BYTES // OUTPUT_BYTES
MODEL = f'''
class Large:
    """Its outputs are as large as one may be."""

    def load(self, args):
        pass

    def predict(self, batch):
        return ["x" * {OUTPUT_BYTES} for _ in batch]
'''
ROUTE = f"""
[[route]]
name = "both"
cascade = ["{SERVICE}", "second"]
limit = 0.8
"""


def asked(stack: Stack, service: str, inputs: int) -> str:
    """Status, and the reason of a refusal or the size of the answer in MB."""
    reply = stack.infer({"inputs": [1] * inputs}, service)
    reason = "" if reply.status_code == 200 else reply.json()["error"]["reason"]
    return f"{reply.status_code} {reason or len(reply.content) // OUTPUT_BYTES}"


def test_outputs_of_one_request_have_a_limit_together(tmp_path: Path) -> None:
    """Kept ones, those of a model, of a fallback, and of both services of a cascade."""
    (tmp_path / "large.py").write_text(MODEL)
    model = f"{tmp_path / 'large.py'}:Large"
    with serving_stack(tmp_path) as stack:
        stack.settings = {
            SERVICE: {"cache_ttl_s": 60.0, "cache_bytes": 10_000_000},
            "away": {"fallback": ["second"]},
        }
        stack.routes["away"] = []
        stack.start_gateway("--hold-s=0")
        stack.start_worker(model=model)
        stack.start_worker(model=model, service="second", job=2)
        stack.write_route(ROUTE)
        wait_for(lambda: stack.infer({"input": 1}, "both").status_code == 200, "the route is known")
        for service in (SERVICE, "second", "away"):
            assert asked(stack, service, MOST) == f"200 {MOST}"
            assert asked(stack, service, MOST + 1) == "500 output_too_large"
        assert asked(stack, "both", MOST // 2) == f"200 {MOST // 2}"
        assert asked(stack, "both", MOST // 2 + 1) == "500 output_too_large"
