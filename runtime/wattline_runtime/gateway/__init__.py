"""The gateway: takes requests over HTTP and has the workers of a service answer them in time."""

from wattline_runtime.gateway.config import Endpoints, GatewayConfig
from wattline_runtime.gateway.routes import FileRoutes, RouteSource
from wattline_runtime.gateway.run import run_gateway

__all__ = ["Endpoints", "FileRoutes", "GatewayConfig", "RouteSource", "run_gateway"]
