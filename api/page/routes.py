"""The paths of the page: `/` for browsers, and all below /page."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api import recordings
from api.backend import Backend
from api.page import assets, finding, login, orders
from api.page.doors import Doors, PageRules, Visitor
from api.page.entrance import Entrance, wants_html
from api.page.screens import OF_ALL, OF_ONE, Look, Screens
from api.page.stream import Streams
from api.page.watch import Watch
from api.problems import bad_request, no_such_path, not_found
from api.resource import OpenHandler, open_resource, path_id
from dialer.core.model import CampaignStatus, Disposition

_POSITION = re.compile(r"[0-9]{1,18}")
# What each screen may be asked, and the words that may be said.
_QUESTIONS: Mapping[str, Mapping[str, frozenset[str] | re.Pattern[str]]] = {
    "overview": {"span": frozenset({"hour", "day"})},
    "campaigns": {"status": frozenset(CampaignStatus), "after": _POSITION},
    "campaign": {
        "state": frozenset({"scheduled", "live", "finished"}),
        "disposition": frozenset(Disposition),
        "after": _POSITION,
    },
}


@dataclass(frozen=True, slots=True)
class Page:
    """What the page is made of beside the API's backend. `watch` runs elsewhere."""

    watch: Watch
    rules: PageRules


def routes(backend: Backend, page: Page) -> list[Route]:
    """All of them."""
    doors = Doors(backend.accounts, page.rules)
    entrance = Entrance(doors)
    screens = Screens(backend, page.watch)
    streams = Streams(screens, doors, page.watch)

    def screen(name: str) -> OpenHandler:
        async def show(request: Request, visitor: Visitor) -> Response:
            look = _look(request, visitor, name)
            drawn = await screens.draw(look)
            if drawn is None:
                raise not_found(name)
            values = {"sections": drawn.sections, "look": look, **drawn.values}
            stream = None if drawn.over else _stream_address(look)
            return entrance.page(request, visitor, name, values, title=drawn.title, stream=stream)

        return entrance.inside(show)

    overview = screen("overview")

    async def root(request: Request) -> Response:
        if not wants_html(request):
            # A program has lost its way, and is told so as it is on every other path that is none.
            raise no_such_path(request)
        return await overview(request)

    async def stream(request: Request, visitor: Visitor) -> Response:
        name = request.path_params["screen"]
        if name not in (OF_ONE if "id" in request.path_params else OF_ALL):
            raise not_found("stream")
        return await streams.open(request, visitor, _look(request, visitor, name))

    async def recording(request: Request, visitor: Visitor) -> Response:
        return await recordings.send(backend, request, visitor.principal.account_id)

    return [
        open_resource("/", GET=root),
        *assets.routes(),
        *login.routes(entrance),
        *finding.routes(entrance, backend, page.watch.board, screens),
        open_resource("/page/campaigns", GET=screen("campaigns")),
        open_resource("/page/live", GET=screen("live")),
        open_resource("/page/trunks", GET=screen("trunks")),
        open_resource("/page/campaign/{id}", GET=screen("campaign")),
        open_resource("/page/call/{id}", GET=screen("call")),
        open_resource("/page/call/{id}/recording", GET=entrance.inside(recording)),
        open_resource("/page/stream/{screen}", GET=entrance.inside(stream)),
        open_resource("/page/stream/{screen}/{id}", GET=entrance.inside(stream)),
        *orders.routes(entrance, backend.control, screens),
    ]


def _look(request: Request, visitor: Visitor, screen: str) -> Look:
    """Raises the problem 400 for a question that is not understood."""
    known = _QUESTIONS.get(screen, {})
    asked = {}
    for name, value in request.query_params.multi_items():
        allowed = known.get(name)
        understood = allowed.fullmatch(value) if isinstance(allowed, re.Pattern) else value in (allowed or ())
        if value and not understood:
            raise bad_request(f"{name}={value} is not understood here")
        asked[name] = value
    return Look(
        account_id=visitor.principal.account_id,
        screen=screen,
        steers=visitor.steers,
        mask=visitor.mask,
        of=path_id(request, screen) if "id" in request.path_params else "",
        asked=frozenset((name, value) for name, value in asked.items() if value),
    )


def _stream_address(look: Look) -> str:
    asked = urlencode(sorted(look.asked))
    return f"/page/stream/{look.screen}{f'/{quote(look.of)}' if look.of else ''}{f'?{asked}' if asked else ''}"
