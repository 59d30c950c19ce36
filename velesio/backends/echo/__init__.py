"""Echo: a deterministic backend without weights, for tests and demonstrations.

Its text model answers a prompt with the prompt's own words, one token for each, up to `max_tokens`, so that every
test can tell the text it must get. To it a token is a character where text is tokenized, a vector counts letters, and
the best document has most words of the query. Its image model draws a small picture that depends
on the prompt and the seed alone. Models are whatever `[[models]]` tables with `backend = "echo"` say; options:

    capability         "text" (default) or "image"
    slots              jobs that are computed together (4)
    context            tokens that one job may use (4096)
    tokens_per_second  how fast one job's tokens come; 0 (default): as fast as possible
    load_seconds       how long loading takes (0)
    can_continue       whether a lost worker's text goes on elsewhere (true)

Switches stand in the prompt, act when the answer begins and are not echoed:

    [[sleep 0.05]]     wait that many seconds before each token, or before the picture
    [[tokens 50]]      the whole answer has 50 tokens: the words are cut short or said again
    [[clock]]          each word is the moment at which it is said: microseconds of the machine's monotonic clock
    [[fail message]]   the job fails with that message
    [[retry message]]  the job fails, and another attempt could succeed
    [[raise]]          the step raises: everybody in the engine fails, the engine is built anew
    [[hang]]           the step never returns
    [[crash]]          the process dies at once
    [[after 3 crash]]  any of the last four, after three tokens of the answer
"""

from velesio.backends.echo.backend import EchoBackend, backend

__all__ = ["EchoBackend", "backend"]
