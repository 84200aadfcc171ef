"""What POST /campaign and POST /call have in common: the body goes to the intake as it came, and its answer goes back."""

from http import HTTPStatus
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response

from api.answers import JsonAnswer
from api.backend import Backend, Principal
from api.payloads import fill, idempotency_key, media_type, query
from api.problems import LATER, bad_request
from api.scopes import permits, require
from dialer.core.form_intake import CSV, FORM_FIELDS, is_form
from dialer.core.intake import Form


async def submit(backend: Backend, endpoint: Literal["campaign", "call"], request: Request, who: Principal) -> Response:
    """Hand the request to the intake. `Idempotent-Replayed: true` marks an answer that was given before."""
    content_type = request.headers.get("content-type", "") if endpoint == "campaign" else ""
    known = ("dry_run",) if endpoint == "campaign" else ()
    asked = query(request, *known, *(FORM_FIELDS if media_type(request) == CSV and known else ()))
    allowed = permits(who.scope, request.method, request.url.path)
    # Whoever may not submit gets 400 for a faulty body before 403, as anybody does, and nothing of a good one is stored.
    # Empty is no 0: the value of a variable that nobody set would call people who were not to be called.
    said = asked.get("dry_run", "0")
    if said not in {"0", "1"}:
        raise bad_request("dry_run must be one of 0, 1")
    dry_run = said == "1" or not allowed
    form = Form(dry_run, content_type if is_form(content_type) else "", asked, who.token_id)
    key = idempotency_key(request)
    with backend.intake.spool() as body:
        await fill(body, request, backend.max_body_bytes, "api.max_body_bytes")
        answer = await backend.intake.submit(who.account_id, endpoint, body, None if form.dry_run else key, form)
    if not allowed and answer.status < HTTPStatus.BAD_REQUEST:
        require(who.scope, request.method, request.url.path)
    headers = dict(LATER) if answer.status == HTTPStatus.SERVICE_UNAVAILABLE else {}
    if answer.replayed:
        headers["Idempotent-Replayed"] = "true"
    if answer.retry_after is not None:
        headers["Retry-After"] = str(answer.retry_after)
    return JsonAnswer(answer.content, answer.status, headers=headers)
