"""The FastAPI application: everything that is documented, and those calls that are not hot.

Imported only when it is needed: it brings FastAPI and pydantic with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from headrace.adapters.http.framework import Application
from headrace.adapters.http.health import HealthCalls
from headrace.adapters.http.models import models_router
from headrace.adapters.http.openapi import Documentation
from headrace.adapters.http.pipeline_routes import routes_router
from headrace.adapters.http.pipelines import pipelines_router
from headrace.adapters.http.replies import FAILURES, failed, reply
from headrace.adapters.http.streams import streams_router
from headrace.adapters.http.streams_events import StreamCalls
from headrace.domain.errors import EngineError
from headrace.services.deployments import Deployments
from headrace.services.inference import Inference
from headrace.services.routes import Routes


@dataclass(frozen=True, slots=True)
class About:
    """What heads the documentation, and whether it must say how to send a token."""

    title: str
    version: str
    guarded: bool


def build(
    inference: Inference,
    deployments: Deployments,
    health: HealthCalls,
    streams: StreamCalls,
    about: About,
    max_body: int,
    routes: Routes | None = None,
) -> Application:
    """The application, with no middleware of its own: what it would do, the door around it does."""
    app = FastAPI(title=about.title, version=about.version, redoc_url=None, redirect_slashes=False)
    for kind in (EngineError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, failed)
    app.include_router(models_router(inference, deployments, max_body))
    app.include_router(pipelines_router(inference, deployments))
    app.include_router(streams_router(streams))
    if routes is not None:
        app.include_router(routes_router(routes, max_body))
    _add_health(app, health)
    documentation = Documentation(app, inference, deployments, guarded=about.guarded)
    app.openapi = documentation.current  # type: ignore[method-assign]  # as FastAPI says to extend it
    return app


def _add_health(app: FastAPI, health: HealthCalls) -> None:
    @app.get("/api/v1/health", summary="How the server is doing", tags=["health"], responses=FAILURES)
    async def show_health(request: Request) -> Response:
        return reply(request, health.report())

    @app.get("/api/v1/databases/health", summary="Which databases answer", tags=["health"], responses=FAILURES)
    async def show_databases(request: Request) -> Response:
        data: Any = await health.databases()
        return reply(request, data)
