"""Contacts whose fields try to become SIP headers: none of it is on the wire, and the call goes on."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest

from sip.wire import Request
from tests.acceptance.test_on_the_wire import serving
from tests.support.dialer_process import Client
from tests.support.far_end import FarEnd
from tests.support.labs import async_test

EVIL = "1001>\r\nX-Evil: <sip:evil@127.0.0.1>"
FIELDS = ("first_name", "last_name", "email", "company", "job_title", "address", "city", "utm_source")


@pytest.mark.parametrize("mode", ["bridge", "refer"])
@async_test
async def test_what_a_contact_says_of_itself_never_reaches_a_header(tmp_path: Path, mode: str) -> None:
    """It may choose an agent, by the playbook's own words; what is no number or URI there is a fault of that step."""
    steps = [
        {"do": "transfer", "mode": mode, "to": "{custom_fields.agent}"},
        {"do": "transfer", "mode": mode, "to": "sip:{first_name}@127.0.0.1"},
        {"do": "wait", "seconds": 0.2},
    ]

    async def serve(far: FarEnd) -> None:
        while True:
            request = await far.receive(60)
            if isinstance(request, Request) and request.method in {"INVITE", "BYE"}:
                far.reply(request, 200, sdp=request.method == "INVITE")

    def called(client: Client) -> dict[str, Any]:
        contact = {"phone": "+34600000001", **dict.fromkeys(FIELDS, EVIL), "custom_fields": {"agent": EVIL}}
        book = client.playbook(steps=steps)
        answer = client.http.post("/campaign", json={"playbook_id": book, "contacts": [contact]})
        assert answer.status_code == 202, answer.text
        campaign = answer.json()["campaign_id"]
        client.finished(campaign)
        (call,) = client.calls(campaign).values()
        for phone in (EVIL, f"+34600000001{EVIL}", "<sip:1@127.0.0.1>"):
            answer = client.http.post("/campaign", json={"playbook_id": book, "contacts": [{"phone": phone}]})
            assert (answer.status_code, answer.json()["details"][0]["field"]) == (400, "phone")
        return call

    async with FarEnd() as far:
        trunk = {"uri": f"sip:127.0.0.1:{far.port}"}
        with contextlib.ExitStack() as stack:
            _, client = await asyncio.to_thread(stack.enter_context, serving(tmp_path, {"pbx": trunk}))
            answering = asyncio.create_task(serve(far))
            call = await asyncio.to_thread(called, client)
            answering.cancel()
            await asyncio.to_thread(stack.close)
        assert (call["disposition"], call["attempts"][0]["ended_by"]) == ("answered", "us")
        assert [made["outcome"] for made in call["result"]["transfers"]] == ["failed", "failed"]
        invites = {
            message.call_id for message in far.seen if isinstance(message, Request) and message.method == "INVITE"
        }
        assert len(invites) == 1
        assert not [message for message in far.seen if b"evil" in message.encode().lower()]
