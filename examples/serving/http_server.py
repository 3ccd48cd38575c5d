"""A small HTTP server that streams, to run behind the bridge in place of a large one.

wattline submit bridge.toml starts it as `python http_server.py {port}`.
"""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Handler(BaseHTTPRequestHandler):
    """`/health`, `/infer`, and `/v1/chat/completions` with `stream`."""

    def do_GET(self) -> None:
        """The health check."""
        self.answer(200 if self.path == "/health" else 404, {})

    def do_POST(self) -> None:
        """Any other route."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/infer":
            self.answer(200, {"echo": body})
        elif self.path != "/v1/chat/completions":
            self.answer(404, {"error": "no such route"})
        elif body.get("stream"):
            self.stream(body["messages"][-1]["content"].split())
        else:
            words = body["messages"][-1]["content"].split()
            message = {"role": "assistant", "content": " ".join(words)}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            usage = {"total_tokens": 2 * len(words)}
            self.answer(200, {"object": "chat.completion", "choices": [choice], "usage": usage})

    def stream(self, words: list[str]) -> None:
        """Each word as an event."""
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for word in words:
            self.event({"choices": [{"index": 0, "delta": {"content": word}}]})
            time.sleep(0.001)
        self.wfile.write(b"data: [DONE]\n\n")

    def event(self, value: dict[str, Any]) -> None:
        """One event."""
        self.wfile.write(b"data: " + json.dumps(value).encode() + b"\n\n")
        self.wfile.flush()

    def answer(self, status: int, value: dict[str, Any]) -> None:
        """A whole answer."""
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """No line for each request."""


def main(handler: type[Handler] = Handler) -> None:
    """Serve on the port of the first argument."""
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), handler).serve_forever()


if __name__ == "__main__":
    main()
