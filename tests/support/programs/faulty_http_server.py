"""The example's HTTP server, with faults that the content of a message asks for."""

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "examples" / "serving"))

from http_server import Handler, main  # type: ignore[import-not-found]


class Faulty(Handler):  # type: ignore[misc]  # found by its path only
    """`FILE` of the second argument notes the process of each request."""

    def do_POST(self) -> None:  # noqa: N802 - named by http.server
        notes = Path(sys.argv[2])
        with notes.open("a") as file:
            file.write(f"{os.getpid()}\n")
        if len(notes.read_text().split()) == 1 and "die-first" in sys.argv[3:]:
            os.kill(os.getpid(), signal.SIGKILL)
        if len(notes.read_text().split()) == 1 and "hang-first" in sys.argv[3:]:
            time.sleep(3600)
        if len(notes.read_text().split()) == 1 and "half-first" in sys.argv[3:]:
            body = self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-type", "text/event-stream" if b"true" in body else "x/y")
            self.send_header("content-length", "1000")
            self.end_headers()
            self.wfile.write(b"half of it")
            self.close_connection = True
            return
        super().do_POST()

    def stream(self, words: list[str]) -> None:
        fault = words[-1]
        if fault not in ("die", "half", "hang", "endless", "miscount", "garble", "swell"):
            super().stream(words)
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        self.event({"choices": [{"index": 0, "delta": {"content": "some"}}]})
        if fault == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        elif fault == "hang":
            time.sleep(3600)
        elif fault == "miscount":
            self.event({"choices": [], "usage": {"total_tokens": 2**70}})
            self.wfile.write(b"data: [DONE]\n\n")
        elif fault == "garble":
            self.wfile.write(b'data: {"usage": \xff\n\ndata: [DONE]\n\n')
        elif fault == "swell":
            with suppress(OSError):
                while True:
                    self.wfile.write(b"data: " + b"x" * 1000 + b"\n")
        elif fault == "half":
            self.wfile.write(b'data: {"choi')
        else:
            try:
                while True:
                    self.event({"choices": []})
                    time.sleep(0.01)
            except OSError:
                Path(sys.argv[2] + ".left").touch()


main(Faulty)
