"""The check of a README's metadata that clients ask for before they upload it."""

from typing import Any

import yaml
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from app.api.deps import HubDep
from app.api.json_body import read_json
from app.formats.model_card import load_card_data

router = APIRouter()


class Card(BaseModel):
    """Body of validate-yaml."""

    content: str
    repoType: str | None = None  # noqa: N815  the clients' name


@router.post("/api/validate-yaml")
async def validate_yaml(request: Request, response: Response, hub: HubDep) -> dict[str, Any]:
    """Errors (status 400) and warnings about the YAML head of a card."""
    card = await read_json(request, hub.settings.limits, Card)
    try:
        data = load_card_data(card.content.encode("utf-8", "replace"))
    except yaml.YAMLError as error:
        response.status_code = 400
        return {"errors": [{"message": f"Invalid YAML in the metadata: {error}"}], "warnings": []}
    errors = []
    if not isinstance(data.get("model-index", []), list):
        errors.append({"message": '"model-index" must be an array'})
    warnings = [] if data else [{"message": "empty or missing yaml metadata in repo card"}]
    response.status_code = 400 if errors else 200
    return {"errors": errors, "warnings": warnings}
