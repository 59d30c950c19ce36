"""The composition root: builds what a role needs, waits for a signal, and takes it down in order."""

from velesio.service.process import Role
from velesio.service.root import serve

__all__ = ["Role", "serve"]
