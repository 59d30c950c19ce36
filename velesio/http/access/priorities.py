"""Priorities: how urgent a request's jobs are: as its key has it, or as the request says and its key allows."""

from aiohttp import web

from velesio.config import Urgency
from velesio.errors import BadRequest, Forbidden
from velesio.http.access.keys import Credential
from velesio.http.gateway import CREDENTIAL
from velesio.jobs import Priority

HEADER = "X-Velesio-Priority"
NAMES: dict[str, Priority] = {priority.name.lower(): priority for priority in Priority}


def of_request(request: web.Request, asked: Priority | None = None, *, usual: Priority | None = None) -> Priority:
    """The priority of a request's jobs: what was `asked` for in its body, else in its header, else `usual`, else its
    key's own.

    Raises:
        BadRequest: the header names none.
        Forbidden: the key may not ask for one that urgent.
    """
    credential = request[CREDENTIAL]
    if asked is None and HEADER in request.headers:
        asked = read(request.headers[HEADER])
    if asked is not None:
        return allowed(credential, asked)
    return NAMES[credential.priority] if usual is None else usual


def read(text: str) -> Priority:
    """What the header says.

    Raises:
        BadRequest
    """
    found = NAMES.get(text.strip().lower())
    if found is None:
        raise BadRequest(f"Header '{HEADER}': expected one of {', '.join(NAMES)}", param=HEADER)
    return found


def allowed(credential: Credential, asked: Priority) -> Priority:
    """`asked`, if the key may have it.

    Raises:
        Forbidden: with the remedy.
    """
    most = most_urgent(credential.priority, credential.priority_max)
    if asked < NAMES[most]:
        raise Forbidden(
            f"this key's jobs may be {most} at most, not {asked.name.lower()}; velesio keys change KEY --priority-max "
            f"{asked.name.lower()} allows it",
            param="priority",
        )
    return asked


def most_urgent(*urgencies: Urgency) -> Urgency:
    """The one of them that is served first: whoever has a priority by default may also ask for it."""
    return min(urgencies, key=lambda name: NAMES[name])
