"""Hosts as options write them: names, and entries of the lists that say which hosts may be reached. Pure."""

import re

_NAME = r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?"
_IPV6 = r"\[[0-9a-f:.]+\]"
NAME = re.compile(rf"{_NAME}|{_IPV6}", re.IGNORECASE)
"""`ai.example.org`, `[2001:db8::1]`."""
ENTRY = re.compile(rf"(?P<host>\*|(?:\*\.)?{_NAME}|{_IPV6})(?::(?P<port>\d{{1,5}}|\*))?", re.IGNORECASE)
"""`example.org`, `*.example.org`, `[2001:db8::1]`, `*`, each with `:8443` or `:*` for other ports than the usual."""
