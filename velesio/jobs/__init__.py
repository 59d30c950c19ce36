"""A job: what is asked (params), who asks, and the events that answer it.

One job is one sequence of tokens or one set of pictures. A request for several (OpenAI's `n`, a list of prompts)
is several jobs, which workers may share. Params and events travel as msgpack: params as maps, so that releases can
add fields; events as arrays, since one is sent for each token. New fields go to the end and have defaults.
"""

from velesio.jobs.asides import Aside, Detokenize, Embed, Render, Rerank, Slots, Tokenize
from velesio.jobs.events import Cancelled, Completed, Delta, Event, Failed, Final, Preview, Progress, Started, is_final
from velesio.jobs.image import Adapter, Control, Hires, Image, Inpaint, Loopback, Mosaic, Outpaint, Solving, Variation
from velesio.jobs.image_asides import Detect, Enlarge, ImageAside, Sheet
from velesio.jobs.job import Capability, Job, JobState, Params, Priority, born, keep_alive_of, new_id
from velesio.jobs.results import (
    DetokenizedResult,
    Dialect,
    EmbedResult,
    ImageResult,
    InForce,
    PromptResult,
    RerankResult,
    Result,
    SlotsResult,
    TextResult,
    Timings,
    TokenProbs,
    TokensResult,
    Usage,
)
from velesio.jobs.sampling import Grammar, Sampling, Trigger
from velesio.jobs.text import Chat, Completion, Infill, Prompt, TextParams

__all__ = [
    "Adapter",
    "Aside",
    "Cancelled",
    "Capability",
    "Chat",
    "Completed",
    "Completion",
    "Control",
    "Delta",
    "Detect",
    "Detokenize",
    "DetokenizedResult",
    "Dialect",
    "Embed",
    "EmbedResult",
    "Enlarge",
    "Event",
    "Failed",
    "Final",
    "Grammar",
    "Hires",
    "Image",
    "ImageAside",
    "ImageResult",
    "InForce",
    "Infill",
    "Inpaint",
    "Job",
    "JobState",
    "Loopback",
    "Mosaic",
    "Outpaint",
    "Params",
    "Preview",
    "Priority",
    "Progress",
    "Prompt",
    "PromptResult",
    "Render",
    "Rerank",
    "RerankResult",
    "Result",
    "Sampling",
    "Sheet",
    "Slots",
    "SlotsResult",
    "Solving",
    "Started",
    "TextParams",
    "TextResult",
    "Timings",
    "TokenProbs",
    "Tokenize",
    "TokensResult",
    "Trigger",
    "Usage",
    "Variation",
    "born",
    "is_final",
    "keep_alive_of",
    "new_id",
]
