"""The page of docs/api about OpenAI's API."""

from velesio.http import embeddings, models
from velesio.http.openai import audio, chat, completions, control, counting, images, predict, responses
from velesio.http.reference import Page

OPENAI = Page.of(
    name="openai",
    title="OpenAI's API",
    intro="""
What OpenAI's SDKs find here, at the base address `http://HOST:PORT/v1`. Errors are
`{"error": {"message", "type", "param", "code"}}`; `param` is the path of the field, like `messages[1].content`. Every
answer has `X-Request-ID`. Streams end with `[DONE]`; comments keep them alive.
""",
    parts=(
        chat,
        control,
        counting,
        responses,
        completions,
        embeddings,
        images,
        (models, "ONE_API"),
        audio,
        predict,
    ),
)
