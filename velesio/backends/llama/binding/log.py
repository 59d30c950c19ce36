"""What llama.cpp says while it works: errors are kept for refusals, the rest is for debugging. Starts the library."""

import logging
from collections import deque
from typing import Any

from llama_cpp import llama_cpp as c

_log = logging.getLogger("velesio.backends.llama")
_complaints: deque[str] = deque(maxlen=4)
_LOG_ERROR = 4


@c.llama_log_callback  # type: ignore[untyped-decorator]
def receive_log(level: int, text: bytes, _data: Any) -> None:
    """Where llama.cpp says what it does: errors are kept for `last_words`."""
    if level == _LOG_ERROR:
        line = text.decode("utf-8", "replace").strip()
        _complaints.append(line)
        _log.warning("%s", line)
    elif _log.isEnabledFor(logging.DEBUG):
        _log.debug("%s", text.decode("utf-8", "replace").rstrip())


c.llama_log_set(receive_log, None)
c.llama_backend_init()


def forget() -> None:
    """What was said until now is not the reason of what may fail next."""
    _complaints.clear()


def last_words() -> str:
    """The last errors that llama.cpp told."""
    return "; ".join(_complaints) or "it gave no reason"
