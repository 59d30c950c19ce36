"""Everything that can be refused or go wrong, as one tree; each leaf has a public code and an HTTP status.

VelesioError (500 internal_error)
├── ConfigError                       a configuration that cannot be used; names its place
├── BadRequest (400 invalid_request)
│   ├── ContextExceeded (400 context_length_exceeded)
│   ├── Unsupported (501 not_supported)
│   ├── BodyTooLarge (413 body_too_large)
│   ├── BodyTooSlow (408 body_too_slow)
│   ├── Unprocessable (422 unprocessable)
│   └── NotFound (404 not_found)
│       ├── ModelNotFound (404 model_not_found)
│       ├── JobNotFound (404 job_not_found)
│       └── SessionNotFound (404 session_not_found)
├── Unauthorized (401 invalid_api_key)
│   └── KeyRevoked (401 key_revoked)
├── Forbidden (403 forbidden)
├── Conflict (409 conflict)
│   ├── KeyReused (422 idempotency_key_reused)
│   ├── JobUnfinished (409 job_unfinished)
│   └── SessionFull (409 session_full)
├── TooMany (429 rate_limited)
│   ├── TenantQueueFull (429 tenant_queue_full)
│   └── TooManyKeys (429 too_many_wrong_keys)
├── Unavailable (503 unavailable)
│   ├── QueueFull (503 queue_full)
│   ├── NoWorker (503 no_worker)
│   ├── BrokerUnavailable (503 broker_unavailable)
│   ├── ModelLoading (503 model_loading)
│   └── ShuttingDown (503 shutting_down)
├── DeadlineExceeded (504 deadline_exceeded)
├── Unreadable (500 unreadable)        what the broker keeps of it was not written by this release
├── JobCancelled (499 cancelled)
└── JobFailed (500 job_failed)
    ├── WorkerLost (500 worker_lost)
    ├── ModelLoadFailed (500 model_load_failed)
    └── OutOfMemory (500 out_of_memory)

A failure crosses the broker as a code and a message (`jobs.Failed`) and becomes the same class again by `from_code`.
"""

from typing import Any, ClassVar


class VelesioError(Exception):
    """The server met a condition that it did not expect."""

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500

    def __init__(
        self,
        message: str = "",
        *,
        param: str | None = None,
        retry_after: float | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        """`param` names the field at fault, `retry_after` is in seconds, `details` are extra public JSON fields."""
        self.message = message or (type(self).__doc__ or "").strip()
        self.param = param
        self.retry_after = retry_after
        self.details = details or {}
        super().__init__(self.message)


class ConfigError(VelesioError):
    """The configuration cannot be used."""

    code = "bad_config"


class BadRequest(VelesioError):
    """The request cannot be understood."""

    code = "invalid_request"
    status = 400


class ContextExceeded(BadRequest):
    """The prompt is longer than the model's context."""

    code = "context_length_exceeded"

    @classmethod
    def of(cls, tokens: int, context: int) -> "ContextExceeded":
        """The refusal of a prompt of `tokens` tokens by a context of `context` tokens."""
        message = (
            f"request ({tokens} tokens) exceeds the available context size ({context} tokens), "
            "shorten the prompt or give the model a larger context"
        )
        return cls(message, details={"n_prompt_tokens": tokens, "n_ctx": context})


class Unsupported(BadRequest):
    """This server or model cannot do that."""

    code = "not_supported"
    status = 501


class BodyTooLarge(BadRequest):
    """The request body is larger than the limit."""

    code = "body_too_large"
    status = 413


class BodyTooSlow(BadRequest):
    """The request body did not come in time."""

    code = "body_too_slow"
    status = 408


class Unprocessable(BadRequest):
    """Values of the request are not what they should be."""

    code = "unprocessable"
    status = 422


class NotFound(BadRequest):
    """There is nothing at this address."""

    code = "not_found"
    status = 404


class ModelNotFound(NotFound):
    """No such model."""

    code = "model_not_found"


class JobNotFound(NotFound):
    """No such job; results are kept for a limited time."""

    code = "job_not_found"


class SessionNotFound(NotFound):
    """No such session; they are kept for a limited time after their last use."""

    code = "session_not_found"


class Unauthorized(VelesioError):
    """Invalid API Key"""

    code = "invalid_api_key"
    status = 401


class KeyRevoked(Unauthorized):
    """This key was revoked."""

    code = "key_revoked"


class Forbidden(VelesioError):
    """This key may not do that."""

    code = "forbidden"
    status = 403


class Conflict(VelesioError):
    """The state of things does not allow that."""

    code = "conflict"
    status = 409


class KeyReused(Conflict):
    """The idempotency key was used with another request."""

    code = "idempotency_key_reused"
    status = 422


class JobUnfinished(Conflict):
    """The job has not ended; try again later."""

    code = "job_unfinished"


class SessionFull(Conflict):
    """The session is full."""

    code = "session_full"


class TooMany(VelesioError):
    """Too many requests; try again later."""

    code = "rate_limited"
    status = 429


class TenantQueueFull(TooMany):
    """This tenant has too many jobs waiting; try again later."""

    code = "tenant_queue_full"


class TooManyKeys(TooMany):
    """This address has tried too many wrong API keys; try again later, with a key that is known here."""

    code = "too_many_wrong_keys"


class Unavailable(VelesioError):
    """The service cannot answer now; try again later."""

    code = "unavailable"
    status = 503


class QueueFull(Unavailable):
    """The queue is full; try again later."""

    code = "queue_full"


class NoWorker(Unavailable):
    """No worker serves this model at the moment; try again later."""

    code = "no_worker"


class BrokerUnavailable(Unavailable):
    """The broker does not answer; try again later."""

    code = "broker_unavailable"


class ModelLoading(Unavailable):
    """Loading model"""

    code = "model_loading"


class ShuttingDown(Unavailable):
    """The server is shutting down; try again later."""

    code = "shutting_down"


class DeadlineExceeded(VelesioError):
    """The job was not done before its deadline."""

    code = "deadline_exceeded"
    status = 504


class Unreadable(VelesioError):
    """What the broker keeps of this cannot be read by this release."""

    code = "unreadable"


class JobCancelled(VelesioError):
    """The job was cancelled."""

    code = "cancelled"
    status = 499


class JobFailed(VelesioError):
    """The job failed."""

    code = "job_failed"


class WorkerLost(JobFailed):
    """The worker that was producing this answer died, and the answer cannot be continued."""

    code = "worker_lost"


class ModelLoadFailed(JobFailed):
    """The model could not be loaded."""

    code = "model_load_failed"


class OutOfMemory(JobFailed):
    """There was not enough memory for this request."""

    code = "out_of_memory"


def _tree(root: type[VelesioError]) -> dict[str, type[VelesioError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        found |= _tree(child)
    return found


_BY_CODE = _tree(VelesioError)


def from_code(code: str, message: str, details: dict[str, Any] | None = None) -> VelesioError:
    """The error that `code` stands for; an unknown code (a newer worker's) is a `JobFailed`."""
    return _BY_CODE.get(code, JobFailed)(message, details=details)
