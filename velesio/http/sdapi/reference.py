"""The pages of docs/api about A1111's API and its agent scheduler."""

from velesio.http.reference import Page
from velesio.http.sdapi import controlnet, drawing, extras, lists, progress, scheduler, settings, tools, web_page

SDAPI = Page.of(
    name="sdapi",
    title="A1111's API",
    intro="""
What clients of AUTOMATIC1111's web UI find here, also at port 7860 ([ports](../ports.md)). Many requests are drawn at
once. Options, the chosen model, progress, interrupt and skip are those of the key that asks (a bearer token, or the
password of HTTP Basic), and `?id_task=` narrows them to the request with that `force_task_id`. The header
`X-Velesio-Job-Id` names the first job of a request. A client that leaves cancels its request, unless it sent an
[`Idempotency-Key`](../jobs.md), with which it can come back; `/v1/jobs` takes the same bodies in the background.

Errors are `{"error": "HTTPException", "detail", "body", "errors"}` with the HTTP status; values of a wrong type are 422
with a list in `detail`. Unknown fields are passed over; an unknown model, sampler, schedule or upscaler is refused with
the nearest names (samplers and schedules not if `lenient` or the option `sdapi.lenient` says so). Pictures come in
base64 or as `data:` addresses; others are fetched from the hosts of [`fetch.hosts`](../security.md), by default from
none. Progress is told by the gateway that answers the request: behind a balancer of several, send both to the same one.
""",
    parts=(
        drawing,
        progress,
        settings,
        lists,
        tools,
        extras,
        web_page,
        controlnet,
    ),
)

SCHEDULER = Page.of(
    name="agent-scheduler",
    title="The agent scheduler's API",
    intro="""
What clients of A1111's extension of that name find here. Its tasks are [background jobs](../jobs.md): they go on when
their client leaves and when the server restarts, belong to the tenant whose key queued them, and are known to
`/v1/jobs` by the same ids. Nobody arranges them by hand: jobs are served by fair shares.
""",
    parts=(scheduler,),
)
