"""What routes are handed."""

import hmac
from typing import Annotated

from fastapi import Depends, Request

from serving.api.errors import ApiError
from serving.api.service import Service


def service_of(request: Request) -> Service:
    """The service behind this app."""
    return request.app.state.service


ServiceDep = Annotated[Service, Depends(service_of)]


def check_key(request: Request, service: ServiceDep) -> None:
    """Raises ApiError unless the server's API key, if it has one, was sent."""
    key = service.served.api_key
    if key is None:
        return
    scheme, _, sent = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(sent.encode(), key.encode()):
        raise ApiError(
            401,
            "a wrong API key or none; send it as Authorization: Bearer",
            code="invalid_api_key",
            headers={"www-authenticate": "Bearer"},
        )
