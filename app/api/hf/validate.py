"""The check of a README's metadata that clients ask for before they upload it."""

from typing import Any

import yaml
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel
from starlette.responses import JSONResponse, PlainTextResponse

from app.api.deps import HubDep
from app.api.json_body import read_json
from app.api.request_bodies import takes
from app.formats.licenses import license_fault
from app.formats.model_card import load_card_data

router = APIRouter(tags=["repositories"])

TEXT = {"type": "string"}
EMPTY = "empty or missing yaml metadata in repo card"


class Card(BaseModel):
    """Body of validate-yaml."""

    content: str
    repoType: str | None = None  # noqa: N815  the clients' name


class Fault(BaseModel):
    """One thing that is wrong."""

    message: str


class Verdict(BaseModel):
    """Answer of validate-yaml."""

    errors: list[Fault]
    warnings: list[Fault]


VERDICTS: dict[int | str, dict[str, Any]] = {
    200: {"description": "Nothing is wrong.", "content": {"text/plain": {"schema": TEXT}}},
    400: {
        "description": "Something is wrong with the card, or with the request.",
        "content": {
            "application/json": {
                "schema": {
                    "anyOf": [
                        {"$ref": "#/components/schemas/Verdict"},
                        {"$ref": "#/components/schemas/Error"},
                    ]
                }
            },
            "text/plain": {"schema": TEXT},
        },
    },
}


@router.post("/api/validate-yaml", response_model=Verdict, responses=VERDICTS)
@takes(Card)
async def validate_yaml(request: Request, hub: HubDep) -> Response:
    """Errors (status 400) and warnings about the YAML head of a card; lines for text/plain."""
    card = await read_json(request, hub.settings.limits, Card)
    errors, warnings = _judge(card.content)
    status = 400 if errors else 200
    if request.headers.get("accept", "").startswith("text/plain"):
        lines = [f"- Error: {error}" for error in errors]
        lines += [f"- Warning: {warning}" for warning in warnings]
        return PlainTextResponse("\n".join(lines), status_code=status)
    answer = {
        "errors": [{"message": error} for error in errors],
        "warnings": [{"message": warning} for warning in warnings],
    }
    return JSONResponse(answer, status_code=status)


def _judge(content: str) -> tuple[list[str], list[str]]:
    """Errors and warnings."""
    try:
        data = load_card_data(content.encode("utf-8", "replace"))
    except yaml.YAMLError as error:
        return [f"Invalid YAML in the metadata: {error}"], []
    errors: list[str] = []
    if not isinstance(data.get("model-index", []), list):
        errors.append('"model-index" must be an array')
    if data.get("license") is not None:
        fault = license_fault(data["license"])
        errors += [fault] if fault else []
    return errors, [] if data else [EMPTY]
