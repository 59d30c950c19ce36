"""The page of docs/api about the earlier server's API."""

from velesio.http.earlier import images, texts
from velesio.http.reference import Page
from velesio.http.sdapi import lists as sdapi_lists

EARLIER = Page.of(
    name="earlier",
    title="The earlier Velesio server's API",
    intro="""
Routes that its clients still ask: Ollama's requests without `/api`, answered whole by default, pictures, and the list
of image models. What its documentation says of `/models`, `/queue/status` and `/health` stands in the answers of these
routes beside what others read there.
""",
    parts=(
        texts,
        images,
        (sdapi_lists, "EARLIER"),
    ),
)
