"""For monitors: is the process alive, can it work now, and how much does it do."""

from http import HTTPStatus

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.answers import JsonAnswer
from api.backend import Backend
from api.resource import open_resource


def routes(backend: Backend) -> list[Route]:
    """/healthz, /readyz and /metrics, open to anyone who reaches the port."""

    async def alive(_: Request) -> Response:
        return JsonAnswer({"status": "alive"})

    async def ready(_: Request) -> Response:
        reasons = backend.ready()
        if not reasons:
            return JsonAnswer({"status": "ready"})
        return JsonAnswer(
            {"error": "Not ready: " + "; ".join(reasons), "details": [{"reason": reason} for reason in reasons]},
            HTTPStatus.SERVICE_UNAVAILABLE,
        )

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(backend.registry), media_type=CONTENT_TYPE_LATEST)

    return [
        open_resource("/healthz", GET=alive),
        open_resource("/readyz", GET=ready),
        open_resource("/metrics", GET=metrics),
    ]
