"""Who is logged in at the page: a random id in a cookie stands for a token, for as long as the token itself is good.

Sessions live in memory: a backup holds none, and a restart ends them. Only the SHA-256 of an id is kept.
"""

import hashlib
import hmac
import math
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from api.backend import Principal

_ID_BYTES = 32
# Whoever holds a token may log in again and again; the oldest session makes room.
_MOST_SESSIONS = 10_000


@dataclass(slots=True)
class Session:
    """One login. `ends_at` is monotonic; `numbers_shown`: its holder has asked to see numbers in full; `notice` waits to be
    told once. `principal` is whom the token stood for at `asked_at`; None: nobody any more.
    """

    token_id: int
    ends_at: float
    principal: Principal | None = None
    asked_at: float = -math.inf
    numbers_shown: bool = False
    notice: str | None = None


class Sessions:
    """All logins. `clock` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(_ID_BYTES)
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()

    @staticmethod
    def new_id() -> str:
        """What a cookie holds: 256 random bits. It is nobody's until `open`."""
        return secrets.token_urlsafe(_ID_BYTES)

    def open(self, token_id: int, seconds: float) -> str:
        """Log the holder of the token in, for so long at most: the id of a new session."""
        made = self.new_id()
        self._sessions[_hash(made)] = Session(token_id, self._clock() + seconds)
        if len(self._sessions) > _MOST_SESSIONS:
            self._sessions.popitem(last=False)
        return made

    def find(self, session_id: str) -> Session | None:
        """The session; None when there is none of this id, or it is over."""
        key = _hash(session_id)
        session = self._sessions.get(key)
        if session is not None and self._clock() >= session.ends_at:
            del self._sessions[key]
            return None
        return session

    def close(self, session_id: str) -> None:
        """Log out. Nothing for an unknown id."""
        self._sessions.pop(_hash(session_id), None)

    def form_key(self, session_id: str) -> str:
        """What a form must carry to come from a page that was shown to the holder of this id (against CSRF)."""
        return hmac.new(self._key, session_id.encode(), hashlib.sha256).hexdigest()

    def is_form_key(self, session_id: str, given: str) -> bool:
        """Whether it is. In constant time."""
        return hmac.compare_digest(self.form_key(session_id).encode(), given.encode("utf-8", "surrogatepass"))


def _hash(session_id: str) -> bytes:
    return hashlib.sha256(session_id.encode("utf-8", "surrogatepass")).digest()
