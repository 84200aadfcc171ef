"""Requests built from what is known of a peer or a dialog: OPTIONS, CANCEL, ACK, BYE (RFC 3261 sections 9, 11, 12, 17).

Pure. Nothing here keeps state, so a dialog can be ended by a process that did not begin it: from the text of its INVITE
(`cancel_for`), or from the INVITE and the response that made the dialog (`caller_dialog`, then `bye_for`). `token` is any
text never used before by this host; branches, tags and Call-IDs are made from it.
"""

from dataclasses import dataclass, replace

from sip.grammar import Address, Uri
from sip.wire import BRANCH_COOKIE, Message, Request, Response


@dataclass(frozen=True, slots=True)
class Dialog:
    """What a request inside a dialog needs. `local` and `remote` are our and their From/To value, tags included.

    `remote_target` is the URI of their Contact, `route_set` holds Route values in sending order, `next_cseq` is the
    number of our next request.
    """

    call_id: str
    local: str
    remote: str
    remote_target: str
    next_cseq: int
    route_set: tuple[str, ...] = ()


def caller_dialog(invite: Request, response: Response) -> Dialog:
    """The dialog that `response` (2xx, or 1xx with a tag) made, as the side that sent `invite` (RFC 3261 12.1.2).

    Raises MalformedMessage when its Contact or a Record-Route cannot be read.
    """
    contact = response.values("Contact") or [f"<{invite.uri}>"]
    return Dialog(
        call_id=invite.call_id,
        local=invite.lines("From")[0],
        remote=response.lines("To")[0],
        remote_target=_uri_in(contact[0]),
        next_cseq=invite.cseq[0] + 1,
        route_set=tuple(reversed(_routes(response))),
    )


def called_dialog(invite: Request, local_tag: str) -> Dialog:
    """The dialog that our answer with `local_tag` makes, as the side that received `invite` (RFC 3261 12.1.1).

    Raises MalformedMessage when its Contact or a Record-Route cannot be read.
    """
    contact = invite.values("Contact") or [invite.lines("From")[0]]
    return Dialog(
        call_id=invite.call_id,
        local=f"{invite.lines('To')[0]};tag={local_tag}",
        remote=invite.lines("From")[0],
        remote_target=_uri_in(contact[0]),
        next_cseq=1,
        route_set=tuple(_routes(invite)),
    )


def options_request(target: str, *, from_uri: str, sent_by: str, token: str, transport: str = "UDP") -> Request:
    """An OPTIONS to the URI `target`, outside any dialog; `sent_by` is the host:port that expects the answer."""
    headers = (
        _via(transport, sent_by, token),
        ("Max-Forwards", "70"),
        ("From", f"<{from_uri}>;tag={token}"),
        ("To", f"<{target}>"),
        ("Call-ID", token),
        ("CSeq", "1 OPTIONS"),
        ("Accept", "application/sdp"),
    )
    return Request(method="OPTIONS", uri=target, headers=headers)


def cancel_for(invite: Request) -> Request:
    """The CANCEL of an INVITE as it was sent: its Request-URI, top Via, Route, From, To, Call-ID and CSeq number (9.1).

    It must go where the INVITE went, and only after a provisional response to it.
    """
    return _same_hop(invite, "CANCEL", invite.lines("To")[0])


def ack_for(invite: Request, response: Response) -> Request:
    """The ACK of a final response of 300 or above, in the INVITE's own transaction (17.1.1.3)."""
    return _same_hop(invite, "ACK", response.lines("To")[0])


def ack_for_answer(invite: Request, dialog: Dialog, *, sent_by: str, token: str, transport: str = "UDP") -> Request:
    """The ACK of a 2xx: a request of the dialog, with the INVITE's CSeq number (13.2.2.4)."""
    same_number = replace(dialog, next_cseq=invite.cseq[0])
    return dialog_request("ACK", same_number, sent_by=sent_by, token=token, transport=transport)


def bye_for(dialog: Dialog, *, sent_by: str, token: str, transport: str = "UDP") -> Request:
    """The BYE that ends the dialog."""
    return dialog_request("BYE", dialog, sent_by=sent_by, token=token, transport=transport)


def dialog_request(method: str, dialog: Dialog, *, sent_by: str, token: str, transport: str = "UDP") -> Request:
    """A request inside a dialog, with `dialog.next_cseq` (RFC 3261 12.2.1.1). Every proxy counts as a loose router."""
    headers = (
        _via(transport, sent_by, token),
        ("Max-Forwards", "70"),
        *(("Route", route) for route in dialog.route_set),
        ("From", dialog.local),
        ("To", dialog.remote),
        ("Call-ID", dialog.call_id),
        ("CSeq", f"{dialog.next_cseq} {method}"),
    )
    return Request(method=method, uri=dialog.remote_target, headers=headers)


def next_hop(request: Request) -> Uri:
    """The URI whose host and port a request is sent to: its first Route, else its Request-URI (RFC 3261 8.1.2).

    Raises MalformedMessage when that is not a URI.
    """
    routes = request.values("Route")
    return Uri.parse(Address.parse(routes[0]).uri if routes else request.uri)


def _uri_in(address: str) -> str:
    """The URI of a Contact or Route value, known to be readable."""
    uri = Address.parse(address).uri
    Uri.parse(uri)
    return uri


def _routes(message: Message) -> list[str]:
    routes = message.values("Record-Route")
    for route in routes:
        _uri_in(route)
    return routes


def _same_hop(invite: Request, method: str, to: str) -> Request:
    headers = (
        ("Via", invite.values("Via")[0]),
        ("Max-Forwards", "70"),
        *(("Route", route) for route in invite.values("Route")),
        ("From", invite.lines("From")[0]),
        ("To", to),
        ("Call-ID", invite.call_id),
        ("CSeq", f"{invite.cseq[0]} {method}"),
    )
    return Request(method=method, uri=invite.uri, headers=headers)


def _via(transport: str, sent_by: str, token: str) -> tuple[str, str]:
    return "Via", f"SIP/2.0/{transport} {sent_by};rport;branch={BRANCH_COOKIE}{token}"
