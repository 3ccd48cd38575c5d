"""Well-formed input of each kind of text, from which the fuzzer goes on."""

from support.manifests import encode_manifest
from support.strategies.route_files import FULL_ROUTE
from wattline_runtime.data.manifest import Entry

ROUTES = (FULL_ROUTE.encode(),)
JOBS = (
    b"""name = "resnet"
kind = "training"
command = ["python", "train.py", "--epochs", "30"]
queue = "research"
account = "vision"
priority = "high"
array = "0-31%8"
[resources]
nodes = 2
gpus_per_node = 4
gpu_type = ["h100", "a100"]
gpu_memory_min = "40GiB"
cpus_per_gpu = 8
memory = "200GiB"
same_rack = true
[power]
watts_per_gpu = 650
min_performance = 0.7
[limits]
runtime = "12h"
energy = "80kWh"
cost = "400USD"
idle_gpu = { below = 0.05, for = "30m", action = "stop" }
[windows]
start_only = ["Mon-Fri 20:00-06:00", "Sat-Sun"]
deadline = "2026-12-01T08:00"
[recovery]
retries = 3
checkpoint_every = "15m"
grace = "60s"
on_isolation = "continue"
[env]
SEED = "1"
[launch]
how = "torchrun"
""",
    b'command = ["true"]\n[windows]\ndeadline = "9999-12-31T23:59:59-14:00"\n',
    b'command = ["true"]\n[windows]\ndeadline = "0001-01-01T00:00:00+14:00"\n',
    b'kind = "service"\nname = "echo"\ncommand = ["serve"]\n[service]\nreplicas = 3\n',
)

SITE = b"""[site]
name = "lab"
agent_endpoint = "tcp://10.0.0.5:7701"
client_endpoint = "tcp://10.0.0.5:7702"
checkpoint_root = "/mnt/checkpoints"
[timing]
beat_period = "2s"
isolation_after = "20s"
isolation = "floor"
task_lease = "10m"
emergency_grace = "3s"
[tariff]
usd_per_kwh = 0.15
usd_per_gpu_hour = 2
[[power_domain]]
name = "feed-a"
rating = "100kW"
fixed_load = "1kW"
transient_margin = "2kW"
[[power_domain]]
name = "pdu-a1"
parent = "feed-a"
rating_w = 60000
derate = "75%"
foreign_reserve = "0W"
[[cooling_zone]]
name = "room"
capacity = "90kW"
[[node]]
name = "gpu-[01-03,10]"
rack = "r1"
inputs = [{ domain = "pdu-a1" }]
cooling_zone = "room"
nameplate = "10kW"
non_gpu_worst = "1.88kW"
psu_efficiency = 0.94
labels = { fabric = "ib" }
[[node]]
name = "lone"
rack = "r2"
inputs = ["feed-a", "pdu-a1"]
nameplate_w = 12000.5
non_gpu_worst_w = 1000
off = true
[[gateway]]
name = "gw"
worker_endpoint = "tcp://10.0.0.5:7703"
http_address = "127.0.0.1:8080"
[roles]
alice = "operator"
"""

SITES = (
    SITE
    + b"""[[queue]]
name = "night"
max_priority = 50
[[account]]
name = "vision"
shares = 2
[[service]]
name = "echo"
users = ["ada"]
""",
)

_KEY = b"abcdefghijklmnopqrstuvwxyz0123456789ABCD"

BUNDLES = (
    b'site = "test"\nname = "ada"\nrole = "submitter"\n'
    b'agent_endpoint = "tcp://127.0.0.1:7410"\nclient_endpoint = "tcp://127.0.0.1:7411"\n'
    b'scheduler_public_key = "' + _KEY + b'"\n'
    b'public_key = "' + _KEY + b'"\nsecret_key = "' + _KEY + b'"\n',
)

DATA_RULES = (
    b"""
psi = 0.2
rows = [0.9, 2]
may_add = true
ignore = ["id"]
[columns.age]
nulls = 0
range = 0.1
low = -1.5
high = 130
""",
)

DATA_SUMMARIES = (
    b"""{"wattline_summary": 1, "unreadable": {"b.csv": "it is empty"},
"tables": {"a.csv": {"rows": 3, "files": 1, "columns": {
"x": {"kinds": {"integer": 2, "text": 1}, "low": 1.0, "high": 2.0, "shift": 3, "keys": [-5, 7],
"counts": [1, 1], "values": {"b": 1}},
"y": {"kinds": {"text": 2}, "buckets": {"255": 2}, "per_row": 4}}}}}""",
)

SELECTIONS = (b"3-5,8", b"12[0-31]", b"12.7", b"last", b"1,2,3[4-5,9],10-20")

CONDITIONS = (
    b"state=pending and reason~watts",
    b"not (gpus>=4 or name=sweep-*) and user!='ada b'",
    b"started<2026-12-01T16:00 or elapsed>1h30m and energy<80kWh or nodes=none",
)

WINDOWS = (b"Mon-Fri 20:00-06:00", b"Sat-Sun", b"Tue 08:00-09:30")

METRICS = (
    b'{"metrics": {"loss": 0.5, "accuracy": 0.97}}\n{"metrics": {"step": 12}}\n',
    b'{"metrics": {"loss": NaN, "a": 1e999, "b": -1e400, "c": 123456789012345678901234567890}}',
    b'{"wattline": "checkpoint", "step": 7, "bytes": 9, "save_s": 0.5, "unix_s": 1700000000.5}\n',
    b'{"wattline": "save_failed", "step": 7, "why": "\\u202e\x1b[2J", "unix_s": 1, "in_a_row": 2}',
    b'{"wattline": "checkpoint", "step": -7, "bytes": 1e999, "save_s": NaN, "unix_s": "x"}\n',
    b'{"progress": 0.5}\n[]\nnull\n"text"\n{"metrics": []}\n',
)

LOGS = (
    b"\x1b[31mred\x1b[0m plain\r\n50%\r100%\n",
    b"\x1b]0;title\x07\x1b[2J\xf0\x9f\x94\xa5\x9b31m\n",
)

_BODY = b'{"input": {"x": [1, 2]}, "timeout_ms": 1}'

REQUESTS = (
    b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"POST /v1/services/echo/infer HTTP/1.1\r\nHost: a\r\nContent-Length: "
    + str(len(_BODY)).encode()
    + b"\r\nX-Forwarded-For: 10.0.0.1, [::1]:80\r\nTimeout-Ms: 5\r\n\r\n"
    + _BODY,
    b"""POST /v1/services/echo/infer HTTP/1.1\r
Host: a\r
Transfer-Encoding: chunked\r
\r
5\r
{"inp\r
6\r
ut":1}\r
0\r
\r
""",
)

_POINTS = "[[1, 0.5, 1700000000.0], [2.5, -1e-9, 0]]"
_CURVE = f'{{"name": "loss", "count": 2, "lowest": -1e-9, "highest": 0.5, "points": {_POINTS}}}'
RECORDS = tuple(
    text.encode()
    for text in (
        f'{{"parameters": {{"lr": 3e-4, "seed": 1, "adam": true}}, "curves": [{_CURVE}]}}',
        '{"code": {"commit": "c0ffee", "diff": "+x", "diff_bytes": 2, "untracked": ["a.py"]}}',
        (
            '{"packages": {"interpreter": "/usr/bin/python", "version": "3.12.1", "sha256": "ab",'
            ' "names": ["torch==2.6"], "count": 1}, "notes": ["no code: no git"]}'
        ),
    )
)

DATA_MANIFESTS = tuple(
    encode_manifest(Entry(size, path, f"{size:064x}") for size, path in files)
    for files in ([(1, "a")], [(2, "a b/\u00fc.csv"), (0, "a-b"), (3, "z/y/x.json")])
)
DATA_REFERENCES = (b"digits", b"digits@v3", b"digits@stable", b"net.small-1@latest")
DATA_STORES = (b"/srv/data", b"file:///srv//data/", b"s3://bucket", b"s3://my-bucket/a/b.c/")
