"""What operators change over HTTP, noted with who did it."""

from typing import Any

import structlog
from aiohttp import web

from velesio.http.gateway import CREDENTIAL

log = structlog.get_logger("velesio.audit")


async def note(request: web.Request, action: str, target: str, **difference: Any) -> None:
    """Something was done to `target`, by the owner of the request's key."""
    log.info("administration", actor=request[CREDENTIAL].name, action=action, target=target, **difference)
