"""The OpenAPI document against a real server: strangers find nothing, its examples work, it leaves no path out."""

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import Case, GenerationMode

from api.operations import OPERATIONS, PLAYBOOK_ID, STREAM, Operation
from api.scopes import SCOPES, needed
from dialer.core.hours import DAYS
from tests.support import api_formats
from tests.support.dialer_process import Client, Dialer
from tests.support.lab_thread import LabThread
from tests.support.program import SECRET

AUDIO = "hello.wav"
SPEECH = {"command": "cp {input} {output}"}  # playbooks of the schema may speak
EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "10"))


@pytest.fixture(scope="module")
def dialer(lab: LabThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dialer]:
    """A server whose calls are all in the far future or to a lab that is quick."""
    folder = tmp_path_factory.mktemp("openapi")
    trunk = {**lab.trunk, "caller_id": "+34910000000"}  # the packs of calling hours ask for one
    dialer = Dialer(folder, {"pbx": trunk}, webhooks={"allow_private": True, "secret": SECRET}, speech=SPEECH)
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


def asking(client: Client) -> dict[str, Any]:
    return {"headers": {"Authorization": f"Bearer {client.token}"}, "timeout": 60}


def make_plausible(body: dict[str, Any]) -> None:
    """What of a right body is more than a schema can say."""
    # Which spans, times and thresholds go together, and what a pack lets be shown.
    if hours := body.get("calling_hours"):
        body.pop("caller_id", None)
        known = {**{day: ["09:00-13:00"] for day in DAYS}, "holidays": ["ES-MD"], "zone": "Europe/Madrid"}
        hours.update({name: known[name] for name in known if hours.get(name)})
    for name in ("expires_at", "amd"):
        body.pop(name, None)
    # Where labels lead, and whether this server can speak.
    plain = {"play", "wait", "hangup"}
    if isinstance(steps := body.get("steps"), list):
        body["steps"] = [
            {key: value for key, value in step.items() if key != "label"} for step in steps if step["do"] in plain
        ]


def thing(noun: str, http: httpx.Client, playbook: str) -> str:
    """The id of something that exists: a new one, except of webhooks, of which there may be few."""
    later = {"playbook_id": playbook, "launch_at": "2031-01-01T00:00Z"}
    if noun == "campaign":
        answer = http.post("/campaign", json={**later, "contacts": [{"phone": "+34600000001"}]})
        return str(answer.json()["campaign_id"])
    if noun in {"call", "contact"}:
        call = http.post("/call", json={**later, "phone": "+34600000001"}).json()["call_id"]
        return str(http.get("/contact").json()["items"][0]["id"] if noun == "contact" else call)
    if noun == "webhook" and (items := http.get("/webhook").json()["items"]):
        return str(items[0]["id"])
    example = next(one.example for one in OPERATIONS if (one.method, one.path) == ("POST", f"/{noun}"))
    return str(http.post(f"/{noun}", json=example).json()["id"])


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_strangers_find_nothing(
    operation: Operation, mode: GenerationMode, document: Any, client: Client, playbook: str
) -> None:
    if any(STREAM in content for _, content in operation.answers.values()):
        pytest.skip("its answer has no end: tests/acceptance/test_events.py listens to it")
    told = document[operation.path][operation.method]
    if mode is GenerationMode.NEGATIVE and not (told.body or told.query or told.headers or told.path_parameters):
        pytest.skip("there is nothing to get wrong")
    seen = Counter[int]()

    @given(case=told.as_strategy(generation_mode=mode))
    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def ask(case: Case) -> None:
        if mode is GenerationMode.POSITIVE:
            if "id" in case.path_parameters:
                case.path_parameters["id"] = thing(operation.path.split("/")[1], client.http, playbook)
            if isinstance(case.body, dict):
                make_plausible(case.body)
                case.body.update({"playbook_id": playbook} if "playbook_id" in case.body else {})
        answer = case.call_and_validate(**asking(client))
        seen[answer.status_code] += 1

    ask()
    if mode is GenerationMode.POSITIVE and not operation.path.endswith("/recording"):  # nothing was recorded
        assert any(status.value in seen for status in operation.answers), seen


def test_strangers_find_nothing_step_by_step_either(document: Any, client: Client) -> None:
    """From what they made to what can be done with it, as the document's links lead."""

    class Steps(document.as_state_machine()):  # type: ignore[misc]
        def before_call(self, case: Case) -> None:
            if case.meta.generation.mode is GenerationMode.POSITIVE and isinstance(case.body, dict):
                make_plausible(case.body)

        def get_call_kwargs(self, case: Case) -> dict[str, Any]:
            return asking(client)

    walks = max(2, EXAMPLES // 4)  # each is of up to 50 steps
    Steps.run(
        settings=settings(max_examples=walks, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    )


def test_a_token_of_too_small_a_scope_is_told_what_is_wrong_and_then_that_it_may_not(dialer: Dialer) -> None:
    """Whatever it asks for, and nothing changes: 401, then 400, then 403."""
    mine = dialer.account("Scopes")
    playbook = mine.playbook()
    guarded = [one for one in OPERATIONS if not one.open and needed(one.method, one.path) != "read"]
    assert {one.method for one in guarded} == {"GET", "POST", "PUT", "PATCH", "DELETE"}
    nouns = {one.path.split("/")[1] for one in guarded if "{id}" in one.path}
    ids = {noun: thing(noun, mine.http, playbook) for noun in nouns}
    lists = ("/campaign", "/contact", "/playbook", "/do-not-call", "/webhook")
    before = [mine.http.get(path).json() for path in lists]
    tokens = [dialer.run("token", "create", "--account", mine.name, "--scope", one).stdout.strip() for one in SCOPES]
    for operation in guarded:
        less = SCOPES.index(needed(operation.method, operation.path)) - 1
        http = httpx.Client(base_url=dialer.url, headers={"Authorization": f"Bearer {tokens[less]}"})
        path = operation.path.replace("{id}", ids.get(operation.path.split("/")[1], ""))
        body = operation.example
        if isinstance(body, dict) and "playbook_id" in body:
            body = {**body, "playbook_id": playbook}
        answer = http.request(operation.method, path, json=body)
        assert answer.status_code == 403, (operation.id, answer.text)
        assert f"has the scope {SCOPES[less]!r}" in answer.json()["error"]
        for faulty in ({"playbook_id": 5, "phone": [], "city": 5}, None, [5]) if operation.body else ():
            answer = http.request(operation.method, path, json=faulty)
            assert answer.status_code == 400, (operation.id, answer.text)
        http.close()
    assert [mine.http.get(path).json() for path in lists] == before
    mine.close()


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
