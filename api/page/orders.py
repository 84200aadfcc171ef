"""Orders from the page: pause, resume, cancel. The engine's part is the same as for the API's."""

from http import HTTPStatus

import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from api.backend import Control, Verdict
from api.page.doors import Visitor
from api.page.entrance import Entrance
from api.page.screens import Look, Screens
from api.problems import no_such_path, not_found
from api.resource import open_resource, path_id
from api.scopes import require

log = structlog.get_logger("page")

_ORDERS = {"campaign": frozenset({"pause", "resume", "cancel"}), "call": frozenset({"cancel"})}


def routes(entrance: Entrance, control: Control, screens: Screens) -> list[Route]:
    """The paths of orders."""
    acts = {
        ("campaign", "pause"): control.pause,
        ("campaign", "resume"): control.resume,
        ("campaign", "cancel"): control.cancel,
        ("call", "cancel"): control.cancel_call,
    }

    async def confirm(request: Request, visitor: Visitor) -> Response:
        """Cancelling is final: it is asked for once more."""
        what, uuid, word = _ordered(request)
        if word != "cancel":
            raise no_such_path(request)
        _require_steering(visitor, what)
        look = Look(visitor.principal.account_id, what, steers=visitor.steers, mask=visitor.mask, of=uuid)
        drawn = await screens.draw(look)
        if drawn is None:
            raise not_found(what)
        values = {"what": what, "uuid": uuid, "of": drawn.title, "campaign": drawn.values.get("campaign")}
        return entrance.page(request, visitor, "confirm", values, title=f"Cancel {drawn.title}?")

    async def order(request: Request, visitor: Visitor) -> Response:
        await entrance.doors.form(request)
        what, uuid, word = _ordered(request)
        _require_steering(visitor, what)
        verdict = await acts[what, word](visitor.principal.account_id, uuid)
        if verdict is Verdict.UNKNOWN:
            raise not_found(what)
        done = {"pause": "paused", "resume": "resumed", "cancel": "cancelled"}[word]
        late = f"The {what} was over already: nothing was changed."
        visitor.session.notice = late if verdict is Verdict.FINAL else f"The {what} was {done}."
        log.info(f"{what} {done} from the page", id=uuid, verdict=verdict, **visitor.named)
        return RedirectResponse(f"/page/{what}/{uuid}", HTTPStatus.SEE_OTHER)

    return [open_resource("/page/{what}/{id}/{order}", GET=entrance.inside(confirm), POST=entrance.inside(order))]


def _ordered(request: Request) -> tuple[str, str, str]:
    what, order = request.path_params["what"], request.path_params["order"]
    if order not in _ORDERS.get(what, ()):
        raise no_such_path(request)
    return what, path_id(request, what), order


def _require_steering(visitor: Visitor, what: str) -> None:
    """The rule of the API's own path for it."""
    require(visitor.principal.scope, "POST", f"/{what}")
