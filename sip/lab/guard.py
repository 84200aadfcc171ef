"""Who calls, and who may: the subject and the form of an INVITE, digest credentials, accepted registrations."""

import hashlib
import hmac
import re
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from sip.digest import ALGORITHMS, Algorithm, digest_response, parse_digest
from sip.grammar import Address, MalformedMessage, Uri
from sip.lab.flows import Flow, host_port
from sip.lab.log import Subject
from sip.sdp import CONTENT_TYPE
from sip.wire import Request

MAX_BINDINGS: Final = 10_000
DEFAULT_EXPIRES_SECONDS: Final = 3_600
_STAMP: Final = re.compile(r"-?[0-9a-f]{1,12}")

Headers = tuple[tuple[str, str], ...]


SUPPORTED_SCHEMES: Final = {"sip", "sips", "tel"}


def refusal_of(request: Request) -> tuple[int, Headers] | None:
    """The status and headers that refuse an INVITE for its form (RFC 3261 8.2.2, 8.2.3), None when it may pass.

    Raises MalformedMessage when the Request-URI cannot be read.
    """
    if Uri.parse(request.uri).scheme not in SUPPORTED_SCHEMES:
        return 416, ()
    if required := request.values("Require"):  # we have no extension
        return 420, (("Unsupported", ", ".join(required)),)
    content_type = (request.first("Content-Type") or "").partition(";")[0].strip().lower()
    if request.body and (content_type != CONTENT_TYPE or request.first("Content-Encoding")):
        return 415, (("Accept", CONTENT_TYPE),)
    return None


def subject_of(request: Request, flow: Flow) -> Subject:
    """Whom the entries about this request name."""
    asserted = request.values("P-Asserted-Identity")
    caller = Address.parse(asserted[0]).user if asserted else ""
    number = Uri.parse(request.uri).user
    return Subject(number, request.call_id, request.from_.user, caller, host_port(*flow.source))


class Auth(NamedTuple):
    """The credentials that INVITE and REGISTER must bring; a plain (user, password) means the defaults.

    `status` is 401 (as a registrar or PBX) or 407 (as a proxy). One challenge is sent for each of `algorithms`. With
    `stale_first` the first nonce that a request is given counts as expired, so that the caller has to try once more.
    """

    user: str
    password: str
    realm: str = "lab"
    status: Literal[401, 407] = 401
    algorithms: tuple[Algorithm, ...] = ("MD5",)
    nonce_seconds: float = 300.0
    stale_first: bool = False


class Guard:
    """Checks credentials without keeping state: a nonce is its own time and a keyed hash of it."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth
        self._secret = secrets.token_bytes(32)

    def challenge(self, request: Request, now: float) -> tuple[int, Headers] | None:
        """None when `request` brought right credentials; else the status and headers of the response that asks for them.

        `now` is monotonic seconds.
        """
        name = "Authorization" if self._auth.status == 401 else "Proxy-Authorization"
        verdicts = [self._verdict(value, request.method, now) for value in request.lines(name)]
        if "right" in verdicts:
            return None
        stale = "stale" in verdicts
        issued = now - self._auth.nonce_seconds - 1 if self._auth.stale_first and not stale else now
        header = "WWW-Authenticate" if self._auth.status == 401 else "Proxy-Authenticate"
        known = f'Digest realm="{self._auth.realm}", nonce="{self._nonce(issued)}", qop="auth"'
        known += ", stale=true" if stale else ""
        return self._auth.status, tuple((header, f"{known}, algorithm={name}") for name in self._auth.algorithms)

    def _nonce(self, issued: float) -> str:
        stamp = f"{round(issued * 1000):x}"
        return f"{stamp}.{hmac.new(self._secret, stamp.encode(), hashlib.sha256).hexdigest()[:32]}"

    def _verdict(self, value: str, method: str, now: float) -> Literal["right", "wrong", "stale"]:
        try:
            given = parse_digest(value)
        except MalformedMessage:
            return "wrong"
        stamp = given.get("nonce", "").partition(".")[0]
        if not _STAMP.fullmatch(stamp):
            return "wrong"
        issued = int(stamp, 16) / 1000
        algorithm = ALGORITHMS.get(given.get("algorithm", "MD5").lower())
        if algorithm not in self._auth.algorithms or given.get("qop", "auth") != "auth":
            return "wrong"
        expected = digest_response(
            algorithm,
            user=self._auth.user,
            realm=self._auth.realm,
            password=self._auth.password,
            method=method,
            uri=given.get("uri", ""),
            nonce=self._nonce(issued),
            protection=f"{given.get('nc', '')}:{given.get('cnonce', '')}:auth" if "qop" in given else "",
        )
        claimed = f"{given.get('username', '')}\0{given.get('response', '').lower()}"
        if not hmac.compare_digest(claimed.encode("utf-8", "replace"), f"{self._auth.user}\0{expected}".encode()):
            return "wrong"
        return "right" if now - issued <= self._auth.nonce_seconds else "stale"


@dataclass(frozen=True, slots=True)
class Binding:
    """Where a registered user can be reached, and until when (monotonic seconds)."""

    contact: str
    expires_at: float


class Registrar:
    """The newest `MAX_BINDINGS` users that registered, one contact each: the last one given (RFC 3261 10.3, simplified)."""

    def __init__(self) -> None:
        self._bindings: OrderedDict[str, Binding] = OrderedDict()

    def contact_of(self, user: str, now: float) -> str | None:
        """The URI of a user's contact, None when there is none or it expired."""
        binding = self._bindings.get(user)
        return binding.contact if binding and binding.expires_at > now else None

    def register(self, request: Request, now: float) -> Headers:
        """Carry out a REGISTER; the headers of its 200. Raises MalformedMessage.

        No Contact asks only; expires 0 removes; `*` with it removes too.
        """
        user = request.to.user
        contacts = request.values("Contact")
        if contacts:
            self._bindings.pop(user, None)
        if contacts and contacts[0] != "*":
            address = Address.parse(contacts[0])
            seconds = _seconds(address.parameters.get("expires") or request.first("Expires"))
            if seconds:
                self._bindings[user] = Binding(address.uri, now + seconds)
                if len(self._bindings) > MAX_BINDINGS:
                    self._bindings.popitem(last=False)
        binding = self._bindings.get(user)
        if binding is None or binding.expires_at <= now:
            return ()
        return (("Contact", f"<{binding.contact}>;expires={round(binding.expires_at - now)}"),)


def _seconds(text: str | None) -> int:
    if text is None:
        return DEFAULT_EXPIRES_SECONDS
    if not text.isdecimal() or not text.isascii() or len(text) > 10:
        raise MalformedMessage("an Expires that cannot be read")
    return int(text)
