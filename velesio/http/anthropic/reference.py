"""The page of docs/api about Anthropic's API."""

from velesio.http.anthropic import messages
from velesio.http.reference import Page

ANTHROPIC = Page.of(
    name="anthropic",
    title="Anthropic's API",
    intro="""
What Anthropic's SDKs find here, at the base address `http://HOST:PORT`. Errors are
`{"type": "error", "error": {"type", "message"}}`. Any `anthropic-version` and `anthropic-beta` will do. Fields that are
null are as good as left out, fields that are not named here are ignored. Every answer has `request-id`.
""",
    parts=(messages,),
)
