"""The JSON Schema of playbooks, made from the models that validate them: for editors, and for programs that write playbooks.

It says what a playbook may hold. Whether labels lead somewhere, and what this server's trunks and audio allow, is checked
where a playbook is stored, and by `dialer playbook check`.
"""

import json
from functools import cache
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.resource import open_resource
from dialer.core.playbook import Playbook

PATH = "/schema/playbook.json"
MEDIA_TYPE = "application/schema+json"


def routes() -> list[Route]:
    """The schema, open to anyone who reaches the port."""

    async def schema(_: Request) -> Response:
        return Response(playbook_schema(), media_type=MEDIA_TYPE)

    return [open_resource(PATH, GET=schema)]


@cache
def playbook_schema() -> str:
    """The schema as it is served and shipped (docs/playbook.schema.json): JSON of many lines, ending in one."""
    schema = Playbook.model_json_schema()
    close(schema)
    told = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    return json.dumps(told, ensure_ascii=False, indent=2) + "\n"


def close(schema: Any) -> None:  # noqa: ANN401 - any part of a schema
    """Say that an object whose keys have a pattern has no others: pydantic refuses them, and leaves that out."""
    if isinstance(schema, dict):
        if "patternProperties" in schema:
            schema.setdefault("additionalProperties", False)
        for part in schema.values():
            close(part)
    elif isinstance(schema, list):
        for part in schema:
            close(part)
