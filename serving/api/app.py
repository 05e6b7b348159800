"""The HTTP front put together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from serving.api import about, chat, completions, residents
from serving.api.deps import check_key
from serving.api.errors import (
    ApiError,
    answer_api_error,
    answer_http,
    answer_unexpected,
    answer_validation,
)
from serving.api.guard import Guard
from serving.api.service import Service


def create_app(service: Service) -> FastAPI:
    """An app that starts the engine's thread with itself, and stops it."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        service.close()

    app = FastAPI(title="Clade serving", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.service = service
    for router in (completions.router, chat.router, about.router, residents.router):
        app.include_router(router, dependencies=[Depends(check_key)])
    app.include_router(about.open_router)
    app.add_exception_handler(ApiError, answer_api_error)
    app.add_exception_handler(RequestValidationError, answer_validation)
    app.add_exception_handler(HTTPException, answer_http)
    app.add_exception_handler(Exception, answer_unexpected)
    app.add_middleware(Guard)
    return app
