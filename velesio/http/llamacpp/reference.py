"""The pages of docs/api about llama.cpp server's API, and what LLMUnity asks beside it."""

from velesio.http import embeddings, models
from velesio.http.llamacpp import completion, infill, lora, props, rerank, router, slots, streams, tokens, unity
from velesio.http.reference import Page

LLAMACPP = Page.of(
    name="llamacpp",
    title="llama.cpp server's API",
    intro="""
What clients of llama.cpp's `llama-server` find here. Errors are `{"error": {"code", "message", "type"}}` with the HTTP
status as code; a path that is known is 404 for a method that it does not have. Fields that are null are as good as left
out, fields that are not named here are ignored. An API key goes into `Authorization: Bearer …` or `X-Api-Key`.
Streams of `/completion` and `/infill` are `data:` events without `[DONE]`; what keeps them alive is an event with empty
content. `/tools` and `/cors-proxy`, which are for that server's own web page, are not here.
""",
    parts=(
        completion,
        infill,
        tokens,
        (embeddings, "NATIVE_API"),
        rerank,
        props,
        slots,
        lora,
        models,
        router,
        streams,
    ),
)
UNITY = Page.of(
    name="llmunity",
    title="LLMUnity's API",
    intro="""
What LLMUnity asks beside the routes of llama.cpp's server. [LLMUnity](../llmunity.md) tells how games connect, what
their streams look like and how to stand behind a proxy.
""",
    parts=(unity,),
)
