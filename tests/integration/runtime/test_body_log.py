"""A gateway that logs bodies of some requests: what is planted is in none of its files."""

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from support.programs.serving_stack import SERVICE, Stack, serving_stack, wait_for
from wattline_protocol.views.request_logs import LogFilter, LogQuery
from wattline_runtime.log_reading.log_reader import LogFiles, ask_reader

pytestmark = pytest.mark.timeout(120)

KEY = "wl_planted-key"
MARKS = ("4111 1111 1111 1111", "5500-0055-5555-5559", "planted@mail.example", "+4915123456789")


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with serving_stack(tmp_path) as made:
        yield made


def test_no_planted_mark_is_in_any_file_and_readers_get_the_rest(stack: Stack) -> None:
    digest = sha256(KEY.encode()).hexdigest()
    stack.grants = [{"name": "shop", "digest": digest, "services": [SERVICE]}]
    stack.settings = {
        SERVICE: {"log_share": 1.0, "log_blank": ["card", "email", "phone"], "log_retention_s": 9e4}
    }
    stack.write_routes()
    access, bodies = stack.directory / "access.log", stack.directory / "bodies"
    logs = (f"--access-log={access}", f"--body-log={bodies}")
    stack.start_gateway("--closed", "--processes=2", *logs)
    stack.start_worker(wait=False)
    headers = {"api-key": KEY}
    wait_for(lambda: stack.infer({"input": 1}, **headers).status_code == 200, "the worker")
    sent = [{"input": {"to": [mark], "text": f"for {mark}!"}} for mark in MARKS]
    answers = [stack.infer(body, **headers) for body in sent]
    assert [one.json()["output"]["to"] for one in answers] == [[mark] for mark in MARKS]
    broken = stack.infer(b'{"input": "planted 4111 1111', **headers)
    silent = stack.infer({"input": "unwanted-body"}, **headers, **{"wattline-log": "no"})
    foreign = stack.infer({"input": "planted@mail.example"}, **{"api-key": "wl_planted-wrong"})
    newest_answer = stack.infer({"input": "last"}, **headers)
    last = request_id(newest_answer)
    # Each of the two processes writes its lines when it pleases: the last one's may be the first.
    ids = [request_id(one) for one in (*answers, broken, silent, foreign, newest_answer)]
    wait_for(lambda: all(one in access.read_text() for one in ids), "all lines of access")
    logged = [request_id(one) for one in (*answers, newest_answer)]
    wait_for(lambda: all(one in written(bodies) for one in logged), "all bodies")

    text = written(bodies) + access.read_text() + stack.logs()
    for mark in (*MARKS, "planted", "unwanted-body", digest):
        assert mark not in text
    assert request_id(silent) not in written(bodies)

    files = LogFiles(str(access), str(bodies))
    page = ask_reader(LogQuery(7, LogFilter(SERVICE, 0.0, "bodies")), files)
    assert (page.number, page.error, page.reached) == (7, "", None)
    newest = json.loads(page.rows[0].line)
    assert (newest["id"], newest["key"], newest["request"]) == (last, "shop", {"input": "last"})
    assert newest["answer"] == {"output": "last"}
    known = {json.loads(row.line)["id"]: json.loads(row.line) for row in page.rows}
    seen = [known[request_id(one)]["request"]["input"] for one in answers]
    kinds = ["[card]", "[card]", "[email]", "[phone]"]
    assert seen == [{"to": [kind], "text": f"for {kind}!"} for kind in kinds]

    refused = ask_reader(LogQuery(8, LogFilter(SERVICE, 0.0, status="4xx")), files)
    assert {json.loads(row.line)["status"] for row in refused.rows} == {400, 401}
    none = ask_reader(LogQuery(9, LogFilter(SERVICE, 0.0, "bodies")), LogFiles(str(access)))
    assert none.error == "logs no bodies (--body-log)"
    odd = ask_reader(LogQuery(9, LogFilter("../x", 0.0, "bodies")), files)
    assert odd.error == "cannot read its log: the query is malformed"


def request_id(answer: httpx.Response) -> str:
    return str(answer.headers["wattline-request-id"])


def written(folder: Path) -> str:
    return "".join(file.read_text() for file in folder.rglob("*") if file.is_file())
