"""The OpenAPI document says what is served, no more and no less."""

import json
from typing import Any

import pytest

from api.app import create_app
from api.openapi import openapi
from api.operations import OPERATIONS
from api.resource import Resource
from tests.support.fake_backend import Fakes


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*map(references, value.values()))
    return set().union(*map(references, value)) if isinstance(value, list) else set()


def test_every_route_is_told_and_nothing_else() -> None:
    served = {
        (method, route.path)  # type: ignore[attr-defined]
        for route in create_app(Fakes().backend()).routes
        for method in route.app.methods  # type: ignore[attr-defined]
    }
    assert served == {(operation.method, operation.path) for operation in OPERATIONS}
    assert all(isinstance(route.app, Resource) for route in create_app(Fakes().backend()).routes)  # type: ignore[attr-defined]


def test_every_reference_leads_somewhere_and_no_two_operations_share_a_name() -> None:
    document = openapi()
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert references(document) <= known
    assert len({operation.id for operation in OPERATIONS}) == len(OPERATIONS)


def test_the_models_that_validate_are_the_models_that_are_told() -> None:
    models = openapi()["components"]["schemas"]
    assert models["ContactBody"]["required"] == ["phone"]
    assert models["CampaignBody"]["required"] == ["playbook_id", "contacts"]
    assert models["Playbook"]["properties"]["ring_timeout_seconds"]["maximum"] == 300
    assert models["ContactFields"]["properties"]["first_name"]["maxLength"] == 1000


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_only_monitors_and_the_documents_need_no_token(operation: Any) -> None:
    told = openapi()["paths"][operation.path][operation.method.lower()]
    is_open = operation.path in {"/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/schema/playbook.json"}
    assert (told.get("security") == []) is is_open
    assert ("401" in told["responses"]) is not is_open


def test_it_is_json_that_every_reader_can_hold() -> None:
    assert len(json.dumps(openapi())) < 200_000
