"""The HTTP application: all paths together, and an answer in the contract's form for everything else."""

from starlette.applications import Starlette

from api import (
    calls,
    campaigns,
    contacts,
    do_not_call,
    event_stream,
    health,
    openapi,
    playbook_schema,
    playbooks,
    recordings,
    review,
    traces,
    trunks,
    webhooks,
)
from api.backend import Backend
from api.page.routes import Page
from api.page.routes import routes as page_routes
from api.problems import unrouted


def create_app(backend: Backend, page: Page | None = None) -> Starlette:
    """The application that serves from `backend`, and with `page` the operator's page from both. It starts nothing."""
    events = backend.events
    app = Starlette(
        routes=[
            *campaigns.routes(backend),
            *calls.routes(backend),
            *recordings.routes(backend),
            *review.routes(backend),
            *playbooks.routes(backend),
            *contacts.routes(backend),
            *do_not_call.routes(backend),
            *([] if events is None else [*event_stream.routes(backend, events), *webhooks.routes(backend, events)]),
            *trunks.routes(backend),
            *([] if backend.taps is None else traces.routes(backend, backend.taps)),
            *health.routes(backend),
            *openapi.routes(),
            *playbook_schema.routes(),
            *([] if page is None else page_routes(backend, page)),
        ],
        # 404 comes from the router; Exception can only be a fault of the router itself.
        exception_handlers={404: unrouted, Exception: unrouted},
    )
    # /campaign/ is another path than /campaign: a redirected POST would lose its body in many clients.
    app.router.redirect_slashes = False
    return app
