"""The page of docs/api about the administration."""

from velesio.http.admin import audited, feed, jobs, keys, models, pulls, queue, tenants, workers
from velesio.http.reference import Page

ADMIN = Page.of(
    name="admin",
    title="The administration's API",
    intro="""
What operators do and see over HTTP, with a key that has the scope `admin`; [the administration's page](../admin.md)
tells more, the same on the command line too. Errors are `{"error": {"message", "type", "param", "code"}}`.
""",
    parts=(
        feed,
        workers,
        models,
        pulls,
        queue,
        jobs,
        keys,
        tenants,
        audited,
    ),
)
