"""The OpenAPI document against a real server: strangers find nothing, its examples work, it leaves no path out."""

import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import Case, GenerationMode

from api.operations import OPERATIONS, PLAYBOOK_ID, STREAM, Operation
from tests.support import api_formats
from tests.support.dialer_process import Client, Dialer
from tests.support.lab_thread import LabThread

AUDIO = "hello.wav"
SPEECH = {"command": "cp {input} {output}"}  # playbooks of the schema may speak
EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "10"))


@pytest.fixture(scope="module")
def dialer(lab: LabThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dialer]:
    """A server whose calls are all in the far future or to a lab that is quick."""
    folder = tmp_path_factory.mktemp("openapi")
    dialer = Dialer(folder, {"pbx": lab.trunk}, webhooks={"allow_private": True}, speech=SPEECH)
    (dialer.media / AUDIO).write_bytes(b"RIFF")
    dialer.run("db", "migrate")
    try:
        yield dialer.start()
    finally:
        dialer.stop()


@pytest.fixture(scope="module")
def document(dialer: Dialer) -> Any:
    api_formats.register(trunks=["pbx"], audio=[AUDIO])
    document = schemathesis.openapi.from_url(f"{dialer.url}/openapi.json")
    # The token is ours to give: without this a case that lacks it counts as wrong, and is answered with 200.
    document.config.generation.update(with_security_parameters=False)
    return document


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_strangers_find_nothing(operation: Operation, mode: GenerationMode, document: Any, client: Client) -> None:
    if any(STREAM in content for _, content in operation.answers.values()):
        pytest.skip("its answer has no end: tests/acceptance/test_events.py listens to it")
    told = document[operation.path][operation.method]
    if mode is GenerationMode.NEGATIVE and not (told.body or told.query or told.headers or told.path_parameters):
        pytest.skip("there is nothing to get wrong")

    @given(case=told.as_strategy(generation_mode=mode))
    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def ask(case: Case) -> None:
        if mode is GenerationMode.POSITIVE and isinstance(case.body, dict):
            # Which days, spans, packs, times and thresholds go together is more than a schema can say.
            for name in ("calling_hours", "expires_at", "amd"):
                case.body.pop(name, None)
            # So is where labels lead, and whether this server can speak.
            plain = {"play", "wait", "hangup"}
            steps = case.body.get("steps")
            if isinstance(steps, list):
                case.body["steps"] = [
                    {key: value for key, value in step.items() if key != "label"}
                    for step in steps
                    if step["do"] in plain
                ]
        case.call_and_validate(headers={"Authorization": f"Bearer {client.token}"})

    ask()


def test_the_examples_work(client: Client) -> None:
    for webhook in client.http.get("/webhook").json()["items"]:  # strangers may have left as many as there may be
        client.http.delete(f"/webhook/{webhook['id']}")
    ids = {
        "playbook": client.playbook(),
        "campaign": "",
        "call": "",
        "contact": "",
    }
    for operation in OPERATIONS:
        if operation.example is None:
            continue
        noun = operation.path.split("/")[1]
        if noun == "contact":
            [contact, *_] = client.http.get("/contact").json()["items"]
            ids["contact"] = contact["id"]
        body = operation.example
        if isinstance(body, dict) and body.get("playbook_id") == PLAYBOOK_ID:
            body = {**body, "playbook_id": ids["playbook"]}
        path = operation.path.replace("{id}", ids.get(noun, ""))
        answer = client.http.request(operation.method, path, json=body)
        assert answer.status_code in {status.value for status in operation.answers}, (operation.id, answer.text)


def test_the_page_needs_nothing_from_elsewhere(dialer: Dialer) -> None:
    answer = httpx.get(f"{dialer.url}/docs")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "//" not in answer.text.replace("// ", "")
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
