"""The OpenAPI document: what FastAPI sees of the routes, completed by what it cannot see.

Bodies that routes read themselves come from :mod:`app.api.request_bodies`, path parameters from the
convertors of :mod:`app.api.routing`, errors from the table of :mod:`app.api.errors`, and who must
log in from a route's dependencies.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from app.api.deps import check_trainer, get_asker, get_repo_name, require_admin, require_signed_in
from app.api.errors import RESPONSES
from app.api.mirroring import reads_repo
from app.api.request_bodies import BINARY, JSON, RequestBody, body_of
from app.api.routing import TYPE_PREFIXES, describe_convertor

Json = dict[str, Any]

DESCRIPTION = (
    "The interface of the Hugging Face Hub for models, datasets and their files, and under"
    " `/api/clade` what this hub adds. Revisions and paths are one segment each: a slash inside is"
    " sent as `%2F`. `GET` of a file answers `HEAD` too."
)
TAGS = {
    "accounts": "Who is who: tokens, users, organisations.",
    "repositories": "Models, datasets and spaces: made, found, changed, moved, liked.",
    "revisions": "Branches, tags, history.",
    "files": "What a revision holds, and its bytes.",
    "commits": "New content.",
    "discussions": "Discussions and pull requests.",
    "lfs": "git-lfs: big files one by one.",
    "git": "git over HTTP.",
    "xet": "Big files in chunks, as hf_xet sends and fetches them.",
    "fine-tuning": "Files to train on and jobs, as OpenAI's clients speak of them.",
    "families": "Which models derive from which, as declared and as measured.",
    "storage": "How files are stored, and what that saves.",
    "service": "Is it alive, and what is it doing?",
}
SECURITY_SCHEMES: Json = {
    "token": {"type": "http", "scheme": "bearer", "description": "A token of this hub."},
    "password": {
        "type": "http",
        "scheme": "basic",
        "description": "Any user name, with a token for the password; what git sends.",
    },
    "xet": {"type": "http", "scheme": "bearer", "description": "A token from xet-…-token."},
}
LOGIN: list[Json] = [{"token": []}, {"password": []}]

OPENAI_ERROR: Json = {
    "type": "object",
    "description": "Of routes under /v1.",
    "required": ["message", "type", "param", "code"],
    "properties": {
        "message": {"type": "string"},
        "type": {"type": "string"},
        "param": {"type": ["string", "null"]},
        "code": {"type": "string"},
    },
}
ERROR: Json = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {"anyOf": [{"type": "string"}, OPENAI_ERROR]},
        "url": {"type": "string", "description": "With a conflict: what is in the way."},
        "oids": {
            "type": "array",
            "items": {"type": "string"},
            "description": "With missing uploads: the SHA-256 of each.",
        },
    },
}
ERROR_SCHEMA: Json = {"$ref": "#/components/schemas/Error"}
LFS_JSON = "application/vnd.git-lfs+json"
MOVED: Json = {
    "description": "The repository has another name by now.",
    "headers": {"Location": {"schema": {"type": "string"}, "required": True}},
}
TOO_LONG = {414: "LimitExceeded", 431: "LimitExceeded"}
"""URL and headers, refused by ``app.api.protocol`` whatever is asked."""

REPLACED = ("HTTPValidationError", "ValidationError")
"""FastAPI's own errors, which nobody is answered here."""


def document(app: FastAPI, routes: Sequence[APIRoute]) -> Json:
    """The whole document of an app that answers by ``routes``."""
    told = [route for route in routes if route.include_in_schema]
    found = get_openapi(
        title=app.title,
        version=app.version,
        description=DESCRIPTION,
        routes=told,
        tags=[{"name": name, "description": text} for name, text in TAGS.items()],
    )
    paths: Json = {}
    names: dict[str, int] = {}
    for route in told:
        for method in sorted(route.methods or ()):
            operation = found["paths"][route.path_format][method.lower()]
            _complete(operation, route, method)
            for path, copy in _spread(route, operation):
                name = route.name
                names[name] = names.get(name, 0) + 1
                unique = name if names[name] == 1 else f"{name}_{names[name]}"
                paths.setdefault(path, {})[method.lower()] = copy | {"operationId": unique}
    found["paths"] = paths
    seen: Json = found.get("components", {}).get("schemas", {})
    kept = {name: schema for name, schema in seen.items() if name not in REPLACED}
    asked = _schemas(told)
    if twins := [name for name in kept if asked.get(name, kept[name]) != kept[name]]:
        raise ValueError(f"two models are called {' and '.join(twins)}: one would hide the other")
    found["components"] = {
        "schemas": kept | asked | {"Error": ERROR},
        "responses": {str(status): _error_response(status) for status in _statuses()},
        "securitySchemes": SECURITY_SCHEMES,
    }
    return found


def _complete(operation: Json, route: APIRoute, method: str) -> None:
    """Add to an operation what FastAPI did not see."""
    summary, _, rest = (route.endpoint.__doc__ or route.name).strip().partition("\n")
    operation["summary"] = summary.rstrip(".")
    operation.pop("description", None)
    if rest.strip():
        operation["description"] = " ".join(rest.split())
    _complete_path(operation, route)
    body = body_of(route.endpoint)
    if body is not None:
        operation["requestBody"] = _request_body(body)
    asked = set(_calls(route.dependant))
    if asked & {require_signed_in, check_trainer}:
        operation["security"] = LOGIN
    elif get_asker in asked:
        operation["security"] = [{}, *LOGIN]
    responses: Json = operation["responses"]
    if responses.get("422", {}).get("description") == "Validation Error":
        del responses["422"]
    forbidden = {403} if asked & {require_admin, check_trainer} else set[int]()
    upstream = {502, 504} if _is_mirrored(route, method) else set[int]()
    lost = {409} if check_trainer in asked else set[int]()
    named = {int(status) for status in responses if status[0] in "45"} - _shaped(responses)
    for status in named:
        del responses[str(status)]
    for status in _error_statuses(operation, method) | forbidden | upstream | lost | named:
        responses.setdefault(str(status), {"$ref": f"#/components/responses/{status}"})
    if get_repo_name in asked:
        responses["307"] = MOVED


def _shaped(responses: Json) -> set[int]:
    """Statuses whose answers the route describes itself."""
    return {int(status) for status, answer in responses.items() if "content" in answer}


def _complete_path(operation: Json, route: APIRoute) -> None:
    """Parameters of the path as they look on the wire, those that no code reads among them."""
    parameters: list[Json] = operation.get("parameters", [])
    said = {each["name"]: each for each in parameters if each["in"] == "path"}
    for name, convertor in route.param_convertors.items():
        if name not in said:
            text: Json = {"type": "string"}
            said[name] = {"name": name, "in": "path", "required": True, "schema": text}
            parameters.append(said[name])
        said[name].update(describe_convertor(convertor))
    if parameters:
        operation["parameters"] = parameters


def _is_mirrored(route: APIRoute, method: str) -> bool:
    """Whether a mirror asks its upstream before it answers, which may be slow or wrong."""
    names_repo = {"namespace", "name"} <= route.param_convertors.keys()
    return names_repo and reads_repo(method, route.path)


def _error_statuses(operation: Json, method: str) -> set[int]:
    statuses = {400, 429, 503, *TOO_LONG}
    parameters = operation.get("parameters", [])
    if operation.get("security"):
        statuses |= {401}
    if parameters:
        statuses |= {422}
    if any(parameter["in"] == "path" for parameter in parameters):
        statuses |= {401, 403, 404}
    if "206" in operation["responses"]:
        statuses |= {416}
    if method != "GET":
        statuses |= {403, 404, 409, 412, 507}
    if "requestBody" in operation:
        statuses |= {413, 422}
    return statuses


def _calls(dependant: Dependant) -> Iterator[Any]:
    for each in dependant.dependencies:
        yield each.call
        yield from _calls(each)


def _spread(route: APIRoute, operation: Json) -> Iterator[tuple[str, Json]]:
    """The operation by path: one with a prefix for the type of the repo is one for each type."""
    prefix = "{repo_type}{namespace}"
    if prefix not in route.path_format:
        yield route.path_format, operation
        return
    kept = [each for each in operation["parameters"] if each["name"] != "repo_type"]
    for text in TYPE_PREFIXES:
        path = route.path_format.replace(prefix, text + "{namespace}")
        yield path, operation | {"parameters": kept}


def _request_body(body: RequestBody) -> Json:
    schema: Json = BINARY
    if body.schema is not None:
        schema = {"$ref": f"#/components/schemas/{body.schema.__name__}"}
    answer: Json = {
        "required": body.required,
        "content": {media_type: {"schema": schema} for media_type in body.media_types},
    }
    return answer | ({"description": body.description} if body.description else {})


def _schemas(routes: Sequence[APIRoute]) -> Json:
    bodies = (body_of(route.endpoint) for route in routes)
    models: dict[type[BaseModel], None] = {
        body.schema: None for body in bodies if body is not None and body.schema is not None
    }
    _, found = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    return found.get("$defs", {})


def _statuses() -> list[int]:
    return sorted({status for status, _ in RESPONSES.values()} | TOO_LONG.keys())


def _error_response(status: int) -> Json:
    codes = sorted({code for known, code in RESPONSES.values() if known == status})
    text: Json = {"type": "string"}
    codes += [TOO_LONG[status]] if status in TOO_LONG else []
    if status == 422:  # what FastAPI itself finds wrong with a parameter
        codes.append("InvalidRequest")
    if status == 401:  # to somebody without credentials, what he may not see is not there
        codes += ["RepoNotFound", "GatedRepo"]
    return {
        "description": " or ".join(codes),
        "headers": {
            "X-Error-Code": {"schema": text | {"enum": codes}, "required": True},
            "X-Error-Message": {"schema": text, "required": True},
        },
        "content": {media_type: {"schema": ERROR_SCHEMA} for media_type in (JSON, LFS_JSON)},
    }
