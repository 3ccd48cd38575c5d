"""Other servers of models, each with the same model class as ours.

They are as their documentation has them: FastAPI behind uvicorn with httptools and uvloop, one
model in its event loop; Mosec with one worker, also with batches of up to 32; LitServe with one
worker, also with batches of up to 32. Batches wait for others for 1 and for 5 ms at most.
"""

from importlib.util import find_spec
from typing import NamedTuple

from wattline.failures import ActFailed

_FASTAPI = """
import sys
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
class Input(BaseModel):
    input: str
app = FastAPI()
model = Model()
model.load({})
@app.post("/infer")
async def infer(body: Input):
    return {"output": model.predict([body.input])[0]}
uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", access_log=False)
"""
_MOSEC = """
from mosec import Server, Worker
class Served(Worker):
    def __init__(self):
        self.model = Model()
        self.model.load({})
    def forward(self, data):
        if BATCH > 1:
            outputs = self.model.predict([one["input"] for one in data])
            return [{"output": output} for output in outputs]
        return {"output": self.model.predict([data["input"]])[0]}
if __name__ == "__main__":
    server = Server()
    server.append_worker(Served, num=1, max_batch_size=BATCH, max_wait_time=1)
    server.run()
"""
_MOSEC_ARGUMENTS = ("--log-level", "warning", "--timeout", "60000", "--port")
_LITSERVE = """
import sys
import litserve
class Served(litserve.LitAPI):
    def setup(self, device):
        self.model = Model()
        self.model.load({})
    def decode_request(self, request):
        return request["input"]
    def predict(self, value):
        return self.model.predict(value) if BATCH > 1 else self.model.predict([value])[0]
    def encode_response(self, output):
        return {"output": output}
if __name__ == "__main__":
    api = Served(max_batch_size=BATCH, batch_timeout=0.005 if BATCH > 1 else 0.0)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=60)
    server.run(port=int(sys.argv[1]), log_level="warning", generate_client_file=False)
"""


class Peer(NamedTuple):
    """How to run one."""

    package: str
    code: str
    path: str
    batch: int = 1
    arguments: tuple[str, ...] = ()
    """Before the port."""

    def program(self, model: str) -> str:
        """Its script for `module:Class`."""
        module, _, name = model.partition(":")
        return f"from {module} import {name} as Model\nBATCH = {self.batch}\n{self.code}"


PEERS = {
    "fastapi": Peer("fastapi", _FASTAPI, "/infer"),
    "mosec": Peer("mosec", _MOSEC, "/inference", 1, _MOSEC_ARGUMENTS),
    "mosec-batched": Peer("mosec", _MOSEC, "/inference", 32, _MOSEC_ARGUMENTS),
    "litserve": Peer("litserve", _LITSERVE, "/predict"),
    "litserve-batched": Peer("litserve", _LITSERVE, "/predict", 32),
}


def need(package: str, what: str) -> None:
    """Raises ActFailed where it is not installed."""
    if find_spec(package) is None:
        raise ActFailed(
            f"{what} is not installed; install the extra `peers`: pip install 'wattline[peers]'"
        )


def named_peers(text: str) -> tuple[str, ...]:
    """Those of a list as in `fastapi,mosec`. Raises ActFailed for one that cannot be run."""
    names = tuple(filter(None, text.split(",")))
    for name in names:
        if name not in PEERS:
            raise ActFailed(f"no peer {name!r}; peers: {', '.join(PEERS)}")
        need(PEERS[name].package, name)
    return names
