"""The page of docs/api about Ollama's API."""

from velesio.http.ollama import generation, library
from velesio.http.reference import Page

OLLAMA = Page.of(
    name="ollama",
    title="Ollama's API",
    intro="""
What Ollama's clients find here, at `OLLAMA_HOST=http://HOST:PORT`. Errors are `{"error": "…"}`. Streaming is the
default. Times are in nanoseconds. Fields that are null are as good as left out, fields that are not named here are
ignored. A model is called by its name or an alias, with or without `:latest`. Ollama's clients and every `HEAD /` are
told `Ollama is running`; the routes below `/v1` are those of OpenAI's and Anthropic's pages.
""",
    parts=(
        generation,
        library,
    ),
)
