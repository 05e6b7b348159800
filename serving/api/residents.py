"""The engine changes while it serves: adapters come and go, the model becomes a relative.

vLLM's routes for adapters. A switch: what differs is fetched and verified while requests go on;
then those that have begun are finished by the old weights, the new ones are put in place, and
requests that came meanwhile are answered by them.
"""

import asyncio
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from client.errors import ClientError, Refused
from serving.api.deps import ServiceDep
from serving.api.errors import ApiError
from serving.engine.attention import UnservableModel
from serving.engine.engine import Engine
from serving.engine.lora import BadAdapter
from serving.weights.header import BadCheckpoint
from serving.weights.live import NotRelated

router = APIRouter()


class LoadAdapter(BaseModel):
    """``lora_path``: ``owner/name`` on the hub, with ``@revision`` if not main."""

    model_config = ConfigDict(extra="ignore")

    lora_name: str = Field(min_length=1, max_length=200)
    lora_path: str


class UnloadAdapter(BaseModel):
    """``lora_name``: as it was loaded."""

    lora_name: str


class Switch(BaseModel):
    """``model``: ``owner/name`` on the hub, of the family that is served."""

    model: str
    revision: str = "main"


@router.post("/v1/load_lora_adapter")
async def load_adapter(body: LoadAdapter, service: ServiceDep) -> dict[str, str]:
    """Serve an adapter beside the model, under a name of its own."""
    if body.lora_name == service.served.name:
        raise ApiError(400, f"{body.lora_name} is the name of the model", param="lora_name")
    repo, _, revision = body.lora_path.partition("@")
    try:
        adapter = await asyncio.to_thread(service.hub.adapter, repo, revision or "main")

        def add(engine: Engine) -> None:
            engine.runner.adapters.add(body.lora_name, adapter)

        replaces = body.lora_name in service.adapters
        await asyncio.wrap_future(service.loop.call(add, drained=replaces))
    except (BadAdapter, ClientError) as error:
        raise _unloadable(error, "lora_path") from error
    service.adapters[body.lora_name] = adapter.root
    return {"status": f"{body.lora_name} is served"}


@router.post("/v1/unload_lora_adapter")
async def unload_adapter(body: UnloadAdapter, service: ServiceDep) -> dict[str, str]:
    """Finish what is asked of an adapter and forget it."""
    if service.adapters.pop(body.lora_name, None) is None:
        raise ApiError(404, f"no adapter {body.lora_name}", param="lora_name")

    def remove(engine: Engine) -> None:
        engine.runner.adapters.remove(body.lora_name)

    await asyncio.wrap_future(service.loop.call(remove, drained=True))
    return {"status": f"{body.lora_name} is gone"}


@router.post("/v1/switch")
async def switch(body: Switch, service: ServiceDep) -> dict[str, Any]:
    """Become another member of the family; adapters of the old one are forgotten."""
    if service.switching.locked():
        raise ApiError(409, "another switch is under way")
    async with service.switching:
        try:
            staged = await asyncio.to_thread(
                service.hub.stage, service.live, body.model, body.revision
            )
        except (NotRelated, BadCheckpoint, UnservableModel, ClientError) as error:
            raise _unloadable(error, "model") from error
        await service.become(staged)
    return {"model": service.served.name, **asdict(staged.moved)}


def _unloadable(error: Exception, param: str) -> ApiError:
    if isinstance(error, Refused) and error.status in {401, 403, 404}:
        return ApiError(404, str(error), param=param, code="model_not_found")
    status = 502 if isinstance(error, ClientError) else 400
    return ApiError(status, str(error), param=param)
