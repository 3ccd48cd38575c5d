"""The client itself: one method per request, plain values in and views out."""

import os
import queue
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from wattline_protocol.ids import DomainId, JobId, NodeId, TaskNo
from wattline_protocol.job import JobSpec
from wattline_protocol.requests import (
    MAX_LISTED,
    Answer,
    Cancel,
    DeclareOff,
    DeclareOn,
    Denied,
    Done,
    Drain,
    Events,
    Explain,
    Explained,
    FetchLog,
    GetJob,
    GetNode,
    GetPower,
    GetReport,
    GetSite,
    Hold,
    Jobs,
    ListEvents,
    ListJobs,
    ListNodes,
    Log,
    Nodes,
    Power,
    Release,
    Report,
    Request,
    Restore,
    Routes,
    Shed,
    SiteNow,
    Submit,
    Submitted,
    Undrain,
    WatchRoutes,
    WatchSite,
    WorkerRoute,
)
from wattline_protocol.views import (
    ENDED_STATES,
    DomainView,
    EventView,
    ExplainView,
    JobView,
    NodeView,
    ReportView,
    SiteView,
)

from wattline.client.connection import Connection
from wattline.client.errors import (
    DENIALS,
    NotFound,
    RequestDenied,
    Unreachable,
    WaitTimeout,
    WattlineError,
)

A = TypeVar("A")

DEFAULT_TIMEOUT_S = 10.0
"""How long an ask waits for its answer; a scheduler restart fits in."""

_POLL_FIRST_S, _POLL_LONGEST_S = 0.05, 0.5
