"""The OpenAPI 3.1 document, made from `api.operations` and the pydantic models that validate, and the page that shows it."""

import importlib.metadata
import json
from functools import cache
from http import HTTPStatus
from importlib.resources import files
from typing import Any

from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from api import schemas
from api.answers import JsonAnswer
from api.operations import ACCEPTED, CREATED, JSON, OPERATIONS, Operation, Parameter
from api.playbook_schema import close
from api.resource import open_resource
from api.scopes import SCOPES, needed
from dialer.core.contact import ContactFields
from dialer.core.intake import CallBody, CampaignBody

_ERRORS = {
    HTTPStatus.BAD_REQUEST: "The request is wrong; `details` names every fault.",
    HTTPStatus.UNAUTHORIZED: "No token, or one that is unknown, expired or revoked.",
    HTTPStatus.FORBIDDEN: "It belongs to another account, or neither the token's scope nor the server's limits allow it.",
    HTTPStatus.NOT_FOUND: "There is none, or it belongs to another account.",
    HTTPStatus.CONFLICT: "It is over already, or the Idempotency-Key was used with another body.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "More than the server's limits allow.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The body has a Content-Encoding.",
    HTTPStatus.TOO_MANY_REQUESTS: "Too much at once; Retry-After says when to come back.",
    HTTPStatus.SERVICE_UNAVAILABLE: "Not now; nothing was stored.",
}
_REF = "#/components/schemas/{model}"
# Where the answer of what is created has its id, and so where a reader of the document may go from there.
_IDS = {"/campaign": "/campaign_id", "/call": "/call_id", "/playbook": "/id", "/webhook": "/id"}
# The page and everything on it comes with the answer: it works where there is no internet.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"


def routes() -> list[Route]:
    """/openapi.json and /docs, open to anyone who reaches the port."""

    async def document(_: Request) -> Response:
        return JsonAnswer(_encoded())

    async def page(_: Request) -> Response:
        return HTMLResponse(_page(), headers={"Content-Security-Policy": _POLICY})

    return [open_resource("/openapi.json", GET=document), open_resource("/docs", GET=page)]


@cache
def openapi() -> dict[str, Any]:
    """The document. It is the same for every account."""
    models: list[Any] = [ContactFields, schemas.Error]
    for operation in OPERATIONS:
        for content in (operation.body, *(content for _, content in operation.answers.values())):
            models += [model for model in content.values() if model is not None and not isinstance(model, str | dict)]
    # One schema of each model, whichever way it travels: what goes in comes out.
    unique = {repr(model): model for model in models}
    made, shared = TypeAdapter.json_schemas(
        [(name, "validation", TypeAdapter(model)) for name, model in unique.items()], ref_template=_REF
    )
    found = {name: made[name, "validation"] for name in unique}
    components = shared.get("$defs", {})
    components["ContactChange"] = _change_of(_resolved(found[repr(ContactFields)], components))
    for schema in components.values():
        close(schema)
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, found)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "dialer",
            "version": importlib.metadata.version("dialer"),
            "description": "An outbound telephony dialer: campaigns in over HTTP, calls out over SIP trunks.",
            "license": {"name": "GPL-3.0-or-later", "identifier": "GPL-3.0-or-later"},
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": components,
        },
    }


def _operation(operation: Operation, schemas_of: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {"operationId": operation.id, "summary": operation.summary, "tags": [operation.group]}
    if operation.description:
        told["description"] = operation.description
    if operation.open:
        told["security"] = []
    parameters = [_parameter(parameter) for parameter in operation.parameters]
    if "{id}" in operation.path:
        parameters.append(
            {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
        )
    if parameters:
        told["parameters"] = parameters
    if operation.body:
        content = _content(operation.body, schemas_of)
        if operation.example is not None:
            content["application/json"]["examples"] = {"example": {"value": operation.example}}
        told["requestBody"] = {"required": True, "content": content}
    told["responses"] = {
        str(status.value): {"description": text}
        | ({"content": _content(content, schemas_of)} if content else {})
        | ({"links": links} if status in {CREATED, ACCEPTED} and (links := _links(operation)) else {})
        for status, (text, content) in operation.answers.items()
    } | {str(status.value): _error(status, schemas_of) for status in _errors_of(operation)}
    return told


def _links(operation: Operation) -> dict[str, Any]:
    """What can be asked about the thing that the operation creates (OpenAPI 3.1, 4.8.20)."""
    if operation.path not in _IDS:
        return {}
    made = f"$response.body#{_IDS[operation.path]}"
    links: dict[str, Any] = {
        other.id: {"operationId": other.id, "parameters": {"id": made}}
        for other in OPERATIONS
        if other.path.startswith(operation.path + "/{id}")
    }
    if operation.path == "/playbook":
        links |= {
            other.id: {"operationId": other.id, "requestBody": {"playbook_id": made}}
            for other in OPERATIONS
            if other.body.get(JSON) in {CampaignBody, CallBody}
        }
    return links


def _errors_of(operation: Operation) -> list[HTTPStatus]:
    if operation.open:
        return list(operation.errors)
    errors = {HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.TOO_MANY_REQUESTS, *operation.errors}
    if "{id}" in operation.path:
        errors.add(HTTPStatus.NOT_FOUND)
    if needed(operation.method, operation.path) != SCOPES[0]:
        errors.add(HTTPStatus.FORBIDDEN)
    if operation.method != "GET":
        errors.add(HTTPStatus.SERVICE_UNAVAILABLE)
    if operation.body:
        errors |= {HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNSUPPORTED_MEDIA_TYPE}
    return sorted(errors)


def _error(status: HTTPStatus, schemas_of: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {
        "description": _ERRORS[status],
        "content": {"application/json": {"schema": schemas_of[repr(schemas.Error)]}},
    }
    if status is HTTPStatus.UNAUTHORIZED:
        told["headers"] = {"WWW-Authenticate": {"required": True, "schema": {"type": "string", "pattern": "^Bearer"}}}
    return told


def _parameter(parameter: Parameter) -> dict[str, Any]:
    told = {"name": parameter.name, "in": parameter.place, "required": parameter.required, "schema": parameter.schema}
    return told | ({"description": parameter.description} if parameter.description else {})


def _content(models: Any, schemas_of: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401 - media types to models
    content: dict[str, Any] = {}
    for media_type, model in models.items():
        if model is None:
            schema: Any = {"type": "string"}
        elif isinstance(model, dict):
            schema = model
        elif isinstance(model, str):
            schema = {"$ref": _REF.format(model=model)}
        else:
            schema = schemas_of[repr(model)]
        content[media_type] = {"schema": schema}
    return content


def _resolved(schema: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    found: dict[str, Any] = components[reference.rsplit("/", 1)[-1]] if reference else schema
    return found


def _change_of(fields: dict[str, Any]) -> dict[str, Any]:
    """The body of a PATCH: the same fields, each of which null takes away; no others."""
    properties = {name: {"anyOf": [schema, {"type": "null"}]} for name, schema in fields["properties"].items()}
    return {"type": "object", "title": "ContactChange", "properties": properties, "additionalProperties": False}


@cache
def _encoded() -> bytes:
    return json.dumps(openapi(), ensure_ascii=False, separators=(",", ":")).encode()


@cache
def _page() -> str:
    return files("api").joinpath("docs.html").read_text("utf-8")
