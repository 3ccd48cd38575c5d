"""The gateway: accepts requests over HTTP and dispatches them to the workers of a service."""

from wattline_runtime.gateway.config import Endpoints, GatewayConfig
from wattline_runtime.gateway.routes import FileRoutes, RouteSource
from wattline_runtime.gateway.run import run_gateway

__all__ = ["Endpoints", "FileRoutes", "GatewayConfig", "RouteSource", "run_gateway"]
