"""A job: what is asked (params), who asks, and the events that answer it.

One job is one sequence of tokens or one set of pictures. A request for several (OpenAI's `n`, a list of prompts)
is several jobs, which workers may share. Params and events travel as msgpack: params as maps, so that releases can
add fields; events as arrays, since one is sent for each token. New fields go to the end and have defaults.
"""

import enum
import secrets
import time
from typing import Any, Literal

import msgspec

Capability = Literal["text", "image"]
Prompt = str | list[int | str]
"""Text, or a list whose integers are token ids and whose strings are tokenized in place."""


class Priority(enum.IntEnum):
    """Lower is served first; weighted, so that batch never starves."""

    INTERACTIVE = 0
    NORMAL = 1
    BATCH = 2


class JobState(enum.StrEnum):
    """Where a job is. `scheduled`, `queued` and `running` are live; the others are final."""

    SCHEDULED = "s"
    QUEUED = "q"
    RUNNING = "r"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether the job can no longer change."""
        return self in {JobState.DONE, JobState.FAILED, JobState.CANCELLED}


class Sampling(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the next token is chosen. Names, defaults and meaning are llama.cpp's (`temperature` 0 is greedy)."""

    seed: int = -1
    """-1 draws one; otherwise the same seed gives the same text whatever else is in the batch."""
    temperature: float = 0.8
    dynatemp_range: float = 0.0
    dynatemp_exponent: float = 1.0
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    top_n_sigma: float = -1.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    typical_p: float = 1.0
    repeat_last_n: int = 64
    repeat_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = 64
    dry_sequence_breakers: tuple[str, ...] = ("\n", ":", '"', "*")
    mirostat: int = 0
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    adaptive_target: float = -1.0
    """The probability that adaptive-p aims at; negative: off."""
    adaptive_decay: float = 0.9
    min_keep: int = 0
    samplers: tuple[str, ...] = (
        "penalties",
        "dry",
        "top_n_sigma",
        "top_k",
        "typ_p",
        "top_p",
        "min_p",
        "xtc",
        "temperature",
    )
    logit_bias: tuple[tuple[int | str, float | None], ...] = ()
    """(token id or text, bias); None forbids the token."""
    ignore_eos: bool = False


class Trigger(msgspec.Struct, frozen=True, array_like=True):
    """What sets a lazy grammar in force. The answer before it is free; the grammar begins with the trigger itself."""

    kind: Literal["token", "word", "pattern", "pattern_full"]
    """A token of the answer; a text in it; a regular expression found in it, or matched by all of it (the grammar
    then begins where the first group does)."""
    value: str = ""
    token: int = -1


class Grammar(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an answer must look like. At most one of `gbnf` and `schema` is given."""

    gbnf: str = ""
    """llama.cpp's grammar notation; its rule `root` is the answer."""
    schema: dict[str, Any] | bool | None = None
    """A JSON schema that the answer is valid against."""
    lazy: bool = False
    """In force only from a trigger on."""
    triggers: tuple[Trigger, ...] = ()
    preserved: tuple[str, ...] = ()
    """Control tokens whose text belongs to the answer instead of being hidden."""


class TextParams(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What every job that generates text may ask for."""

    sampling: Sampling = Sampling()
    max_tokens: int = -1
    """Tokens to generate at most; -1: until the model ends or the context is full; 0: only evaluate the prompt."""
    stop: tuple[str, ...] = ()
    cache_prompt: bool = True
    id_slot: int = -1
    n_keep: int = 0
    """Tokens of the prompt that a context shift keeps; -1: all of them."""
    n_discard: int = 0
    """Tokens that a context shift gives up after those; 0: half of the rest."""
    shift: bool | None = None
    """Whether generation goes on when the context is full, without its oldest tokens; None: the model's option."""
    grammar: Grammar | None = None
    n_probs: int = 0
    """The likeliest tokens that are reported with each token of the answer; 0: none is."""
    post_sampling_probs: bool = False
    """Report probabilities after the samplers instead of log probabilities before them."""
    lora: tuple[tuple[int, float], ...] | None = None
    """(adapter id, scale), those not named at 0; None: the scales of the model's options."""
    max_seconds: float = 0.0
    """Seconds of generation after which the next line break ends it; 0: no limit."""
    n_indent: int = 0
    """Ends the answer at a line that is indented by less; 0: never."""
    return_progress: bool = False
    """Send `Progress` while the prompt is computed."""
    tells_settings: bool = False
    """Tell with the result what is `InForce`."""
    keep_alive: float | None = None
    """Seconds after this job at which the model is unloaded if no other comes; 0: at once, negative: never, None: as
    before."""


class Completion(TextParams, frozen=True, omit_defaults=True, tag="completion"):
    """Continue a prompt."""

    prompt: Prompt
    media: tuple[bytes, ...] = ()
    """Pictures or sounds (files), one for each media marker in the prompt."""


class Infill(TextParams, frozen=True, omit_defaults=True, tag="infill"):
    """Fill the gap between two pieces of code."""

    prefix: str = ""
    suffix: str = ""
    prompt: str = ""
    """What the gap begins with."""
    extra: tuple[tuple[str, str], ...] = ()
    """(name, text) of other files, for models that were trained with them."""


class Chat(TextParams, frozen=True, omit_defaults=True, tag="chat"):
    """Answer a conversation; the worker renders it with the model's own template."""

    messages: list[dict[str, Any]]
    """OpenAI's messages; pictures and sounds in them as parts `{"type": "media", "media": index}`."""
    template_kwargs: dict[str, Any] = {}
    add_generation_prompt: bool = True
    tools: tuple[dict[str, Any], ...] = ()
    """OpenAI's tools."""
    tool_choice: str = "auto"
    """`auto`, `none`, `required`, or `=name` for one certain function."""
    parallel_tool_calls: bool | None = None
    """Whether the answer may call several; None: as the template likes."""
    reasoning_budget: int = -1
    """Tokens of reasoning, after which it is ended; -1: no limit; 0: none at all."""
    continue_final: bool | None = None
    """Whether a last message of the assistant is the answer's begin; None: yes, where it is the last."""
    media: tuple[bytes, ...] = ()


class Render(msgspec.Struct, frozen=True, tag="render"):
    """Show the prompt that a conversation becomes, and count its tokens, without answering it."""

    chat: Chat


class Tokenize(msgspec.Struct, frozen=True, omit_defaults=True, tag="tokenize"):
    """Turn text into tokens."""

    content: Prompt
    add_special: bool = False
    """Whether the begin and end marks that the model wants are added."""
    parse_special: bool = True
    """Whether the names of control tokens become these."""
    pieces: bool = False
    """Whether the bytes of each token are wanted."""


class Detokenize(msgspec.Struct, frozen=True, tag="detokenize"):
    """Turn tokens into text."""

    tokens: tuple[int, ...]


class Embed(msgspec.Struct, frozen=True, omit_defaults=True, tag="embed"):
    """Turn texts into vectors."""

    inputs: tuple[Prompt, ...]
    normalize: int = 2
    """-1: as they are; 0: largest absolute value 32760; 2: length 1; others: the p-norm."""
    truncate: bool = False
    """Whether inputs that are too long are cut instead of refused."""
    dimensions: int = 0
    """Leading values of each vector, normalized again; 0: all."""
    media: tuple[bytes, ...] = ()
    keep_alive: float | None = None
    """As that of `TextParams`."""


class Rerank(msgspec.Struct, frozen=True, tag="rerank"):
    """Rate how well documents answer a query."""

    query: str
    documents: tuple[str, ...]


class Slots(msgspec.Struct, frozen=True, omit_defaults=True, tag="slots"):
    """Look at the slots of a worker that serves the model, or save, restore or erase what one of them has cached."""

    action: Literal["list", "save", "restore", "erase"] = "list"
    id_slot: int = -1
    filename: str = ""
    """A plain name in the model's `slot_save_path`."""


class Variation(msgspec.Struct, frozen=True, omit_defaults=True):
    """A second seed whose noise is mixed in, and a size at which the noise is drawn."""

    seed: int = -1
    """-1 draws one; picture i uses seed + i."""
    strength: float = 0.0
    """How far from the first seed's noise to this one's; 0: not at all."""
    from_width: int = 0
    """The noise of a picture of this size, in pixels, is put into the middle; 0: the picture's own."""
    from_height: int = 0


class Inpaint(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which part of a picture is made anew."""

    mask: bytes = b""
    """A picture file: white is made anew. Where it has transparency, that is the mask."""
    blur_x: float = 4.0
    """Pixels over which the border is softened."""
    blur_y: float = 4.0
    hard: bool = True
    """Whether the mask is rounded to black and white for the model; the paste at the end stays soft."""
    invert: bool = False
    content: Literal["fill", "original", "noise", "nothing"] = "fill"
    """What the part holds to begin with: colours around it, what it is, noise, or nothing."""
    only_masked: bool = False
    """Draw the masked part alone, at the full size, and paste it in."""
    padding: int = 32
    """Pixels around the masked part that are drawn with it."""
    mask_weight: float = 1.0
    """For models made for inpainting: how much of the original they are not shown under the mask."""


class Outpaint(msgspec.Struct, frozen=True, omit_defaults=True):
    """Enlarge a picture and draw what is around it."""

    left: int = 0
    """Pixels; the canvas grows to multiples of what the model needs."""
    right: int = 0
    up: int = 0
    down: int = 0
    blur: float = 4.0
    """Pixels over which the old picture's border is softened."""
    content: Literal["fill", "original", "noise", "nothing", "texture"] = "fill"
    """As of `Inpaint`; texture: noise with the colours and the grain of the picture."""
    detail: float = 1.0
    """Of the texture: the power of the picture's spectrum; smaller values make finer grain."""
    colours: float = 0.05
    """Of the texture: how far its colours vary, 0 to 1."""


class Loopback(msgspec.Struct, frozen=True, omit_defaults=True):
    """Each picture is given to the next pass, which draws it again; all of them are results."""

    loops: int = 4
    denoising: float = 0.5
    """Of the last loop; the first one has the job's own."""
    curve: Literal["linear", "aggressive", "lazy"] = "linear"
    """How it gets there: evenly, most of it at first, or most of it at last."""


class Mosaic(msgspec.Struct, frozen=True, omit_defaults=True):
    """A given picture is enlarged and drawn again in overlapping tiles of the job's size."""

    scale: float = 2.0
    overlap: int = 64
    """Pixels that neighbours share, at least."""
    upscaler: str = "Lanczos"


class Hires(msgspec.Struct, frozen=True, omit_defaults=True):
    """A second pass: the picture enlarged and drawn again."""

    scale: float = 2.0
    width: int = 0
    """Pixels; with `height` also 0: by `scale`; one alone keeps the shape; both: covered and cut."""
    height: int = 0
    upscaler: str = "Latent"
    steps: int = 0
    """0: as many as the first pass."""
    denoising: float = 0.75
    sampler: str = ""
    """Empty: as the first pass, like all of the following."""
    schedule: str = ""
    prompt: str = ""
    negative_prompt: str = ""
    checkpoint: str = ""
    cfg: float = 0.0


class Control(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A ControlNet unit: a picture that says where things are."""

    model: str
    image: bytes = b""
    """A picture file; empty: the first picture that is given to the job."""
    module: str = "none"
    """The preprocessor."""
    weight: float = 1.0
    start: float = 0.0
    """Parts of the steps between which it works."""
    end: float = 1.0
    mode: Literal["balanced", "prompt", "control"] = "balanced"
    """Which of the two is more important."""
    resize: Literal["stretch", "crop", "fill"] = "crop"
    resolution: int = 512
    """Of the preprocessor, in pixels of the shorter side."""
    threshold_a: float = -1.0
    """Of the preprocessor; -1: its own default."""
    threshold_b: float = -1.0
    pixel_perfect: bool = False
    """Whether the resolution is that of the picture to be made."""
    passes: Literal["both", "low", "high"] = "both"
    """In which passes of a picture with `hires` it works."""
    mask: bytes = b""
    """Where it works, white; empty: everywhere."""
    show: bool = True
    """Whether what the preprocessor made of the picture is among the result's maps."""


class Adapter(msgspec.Struct, frozen=True, array_like=True):
    """A LoRA by its name, as a tag in the prompt says it."""

    name: str
    text: float = 1.0
    """Its weight in the text encoders."""
    unet: float = 1.0


class Solving(msgspec.Struct, frozen=True, omit_defaults=True):
    """What may be turned in samplers and schedules; 0 and None mean "the sampler's own"."""

    eta: float | None = None
    eta_ddim: float | None = None
    s_churn: float = 0.0
    s_tmin: float = 0.0
    s_tmax: float = 0.0
    """0: no limit."""
    s_noise: float = 1.0
    s_min_uncond: float = 0.0
    """Below this noise level every second step leaves the negative prompt out."""
    skip_early_cond: float = 0.0
    """Part of the steps, from the begin, that leave the negative prompt out."""
    sigma_min: float = 0.0
    sigma_max: float = 0.0
    rho: float = 0.0
    beta_alpha: float = 0.6
    beta_beta: float = 0.6
    discard_penultimate: bool = False
    sgm_noise: bool = False
    uni_pc_variant: Literal["bh1", "bh2"] = "bh1"
    uni_pc_order: int = 3
    uni_pc_lower_order_final: bool = True
    zero_terminal_snr: bool = False
    seed_delta: int = 0
    """Added to the seed of noise that samplers draw while they work."""


class Image(msgspec.Struct, frozen=True, omit_defaults=True, tag="image"):
    """Draw pictures. Sizes are in pixels; files of pictures are PNG, JPEG or WebP."""

    prompt: str
    negative_prompt: str = ""
    width: int = 64
    """With `height` also 0: the size that the model was made for, in the shape of the first of `init`."""
    height: int = 64
    steps: int = 20
    seed: int = -1
    """-1 draws one; picture i uses seed + i, unless a variation is asked for."""
    cfg: float = 7.0
    """How closely the prompt is followed; at 1 the negative prompt does not count."""
    sampler: str = "Euler"
    """A name of `diffusion.samplers`, which may carry a schedule's."""
    schedule: str = ""
    batch: int = 1
    """Pictures."""
    variation: Variation = Variation()
    solving: Solving = Solving()
    clip_skip: int = 1
    """Last layers of the text encoder that are left out, counted from 1: all are used."""
    emphasis: Literal["original", "no_norm", "ignore", "none"] = "original"
    comma_backtrack: int = 20
    """Tokens after a comma that move to the next chunk with what follows."""
    tiling: bool = False
    """Whether the picture's edges fit together."""
    init: tuple[bytes, ...] = ()
    """Picture files to begin with: one for all pictures, or one for each."""
    denoising: float = 0.75
    """How much of `init` is drawn anew, 0 to 1."""
    resize: Literal["stretch", "crop", "fill", "latent"] = "stretch"
    """How `init` comes to the size that was asked for."""
    exact_steps: bool = False
    """Whether `init` gets all of `steps` instead of its share of them."""
    noise_multiplier: float = 1.0
    """On the noise that is put on `init`."""
    extra_noise: float = 0.0
    color_correction: bool = False
    """Whether the result gets the colours of `init`."""
    inpaint: Inpaint | None = None
    outpaint: Outpaint | None = None
    loopback: Loopback | None = None
    mosaic: Mosaic | None = None
    hires: Hires | None = None
    refiner: str = ""
    """A checkpoint that takes over."""
    refiner_at: float = 0.8
    """The part of the steps after which it does."""
    controls: tuple[Control, ...] = ()
    adapters: tuple[Adapter, ...] = ()
    """LoRAs besides those that tags in the prompt name."""
    apply_tags: bool = True
    """Whether adapter tags in the prompt are obeyed; else they are only taken out."""
    vae: str = ""
    """A file of `vae/`; empty or "Automatic": the one beside the checkpoint, else its own; "None": its own."""
    noise_source: Literal["", "cpu", "nv"] = ""
    """Which generator the seeds mean; nv: that of NVIDIA GPUs, on any device; empty: the model's option."""
    alone: bool = False
    """Whether its steps are never shared with other jobs' (bit for bit the same each time)."""
    preview_every: int = 0
    """Steps after which a preview is sent, where events are wanted; 0: none."""
    extra: dict[str, str] = {}
    """Further lines for the text that is written into the pictures."""
    original_prompt: str = ""
    """The prompt for that text, where it differs from what the model is told."""
    form: Literal["png", "jpeg", "webp"] = "png"
    """Of the files that are made, previews included."""
    quality: int = 100
    """Of JPEG and WebP files, 0 to 100."""
    lenient: bool = False
    """Whether unknown samplers and schedules are passed over with a note instead of refused."""

    @property
    def pictures(self) -> int:
        """How many it asks for, over all loops."""
        return self.batch * (self.loopback.loops if self.loopback else 1)


class Enlarge(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag="enlarge"):
    """Enlarge pictures as they are; nothing is drawn anew."""

    pictures: tuple[bytes, ...]
    """Files."""
    upscaler: str = "None"
    """"None": the pictures stay as they are."""
    second: str = "None"
    """Another one, whose result is laid over the first one's."""
    share: float = 0.0
    """How much of the second one is seen, 0 to 1."""
    scale: float = 2.0
    """How much larger; sides become multiples of 8."""
    width: int = 0
    """Pixels that are covered, in place of `scale`; 0, as `height` then is: by `scale`."""
    height: int = 0
    crop: bool = True
    """Whether what reaches beyond `width` and `height` is cut off."""
    tile: int = 192
    """Pixels of the parts in which networks are shown a picture; 0: as a whole."""
    overlap: int = 8


class Detect(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag="detect"):
    """Show what a ControlNet would be shown of pictures."""

    pictures: tuple[bytes, ...]
    """Files."""
    module: str = "none"
    """As the fields of `Control` that follow."""
    resolution: int = 512
    threshold_a: float = -1.0
    threshold_b: float = -1.0
    masks: tuple[bytes, ...] = ()
    """None, or one for each picture; white is hidden by modules that hide something."""


class Sheet(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag="sheet"):
    """Arrange pictures on one, row by row."""

    pictures: tuple[bytes, ...]
    """Files; an empty one leaves its place empty."""
    columns: int
    margin: int = 0
    """Pixels between them."""
    over: tuple[str, ...] = ()
    """Titles of the columns."""
    beside: tuple[str, ...] = ()
    """Titles of the rows."""


Aside = Render | Tokenize | Detokenize | Embed | Rerank | Slots
"""Jobs that hold no slot: they are served beside the generating ones."""
ImageAside = Enlarge | Detect | Sheet
"""The same of models that draw; their result is an `ImageResult`."""
Params = Completion | Infill | Chat | Aside | Image | ImageAside


def keep_alive_of(params: Params) -> float | None:
    """For how long the model stays loaded after this job, if the job says so."""
    return params.keep_alive if isinstance(params, TextParams | Embed) else None


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One unit of work. The broker stores every field but `params` as a hash field of its own."""

    id: str
    model: str
    capability: Capability
    params: Params
    tenant: str = "default"
    priority: Priority = Priority.NORMAL
    cost: float = 1.0
    """What it counts in the fair shares: estimated tokens in thousands, or megapixel-steps."""
    deadline: float = 0.0
    """Unix seconds; 0 lets the queue set its default."""
    gateway: str = ""
    """The gateway whose reply stream wants the events; empty: nobody waits, only the result is kept."""
    stream: bool = False
    """Whether events before the final one are wanted."""
    sent: tuple[int, ...] = ()
    """Tokens that a lost worker already sent and the client has: continue after them."""
    request: bytes = b""
    """What was asked, in the gateway's own words, for the one who writes the answer when it is fetched later."""
    trace: str = ""
    """The traceparent of the request, under which the job's spans belong; empty: nobody traces it."""

    @classmethod
    def new(cls, model: str, params: Params, **fields: Any) -> "Job":
        """A job with a fresh id."""
        capability: Capability = "image" if isinstance(params, Image | ImageAside) else "text"
        return cls(id=new_id(), model=model, capability=capability, params=params, **fields)


def new_id() -> str:
    """A job id: 12 hex digits of milliseconds, so that ids sort by time, and 80 random bits."""
    return f"{int(time.time() * 1000):012x}{secrets.token_hex(10)}"


def born(job_id: str) -> float:
    """When an id was made, in unix seconds."""
    return int(job_id[:12], 16) / 1000


class Usage(msgspec.Struct, frozen=True, array_like=True):
    """Tokens, for limits and bills."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    """Part of `prompt_tokens` that was not computed again."""


class Timings(msgspec.Struct, frozen=True, array_like=True):
    """Milliseconds on the worker's monotonic clock."""

    prompt_ms: float = 0.0
    predicted_ms: float = 0.0
    drafted: int = 0
    """Tokens that were guessed ahead."""
    accepted: int = 0
    """Those of them that were right."""
    drafts: int = 0
    """Times that tokens were guessed ahead."""
    accepted_at: tuple[int, ...] = ()
    """Of the first, the second … token of each of those drafts: how often it was right. Their sum is `accepted`."""


class Dialect(msgspec.Struct, frozen=True, array_like=True):
    """How the text of an answer tells reasoning and tool calls from what is meant to be read."""

    name: str = ""
    """One of `velesio.dialects`; empty: all of it is content."""
    prefix: str = ""
    """The end of the prompt that belongs to the answer, as where a template opens the reasoning itself."""


class TokenProbs(msgspec.Struct, frozen=True, array_like=True):
    """A token of the answer with how likely it and its rivals were."""

    token: int
    piece: bytes
    logprob: float
    """Natural logarithm of its probability; with `post_sampling_probs` the probability itself."""
    top: tuple[tuple[int, bytes, float], ...] = ()
    """(token, its bytes, the same measure), likeliest first."""


class Started(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """The engine admitted the job and found it valid; nothing is computed yet."""

    prompt_tokens: int = 0
    dialect: Dialect = Dialect()
    cached_tokens: int = 0
    """Of the prompt, those that lie in the cache now; the result tells how many were not computed in the end."""


class Delta(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Text that follows what was sent before, and the tokens whose text this is (stop strings and incomplete
    characters are held back, so a token may come with a later delta)."""

    text: str
    tokens: tuple[int, ...] = ()
    predicted: int = 0
    """Tokens generated so far, this delta's included."""
    probs: tuple[TokenProbs, ...] = ()
    """One for each of `tokens`, if they were asked for."""


class Progress(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """How far a job is: tokens of its prompt, or steps of its pictures."""

    done: int
    total: int
    cached: int = 0
    """Part of `done` that was not computed again."""
    ms: float = 0.0
    """Milliseconds since the worker began with it."""


class Preview(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """How a picture looks in the making; a small file that the next one replaces."""

    picture: bytes
    index: int = 0
    """Of the picture in the job."""
    done: int = 0
    """Steps."""
    total: int = 0


class InForce(msgspec.Struct, frozen=True, array_like=True):
    """What an engine made of params that only it can read."""

    grammar: str = ""
    """GBNF for the schema or the tool calls that the answer was held to; empty: the params have it, or nothing was."""
    logit_bias: tuple[tuple[int, float | None], ...] = ()
    """(token, its bias; None: it was forbidden), texts as their tokens, with the ends that were ignored."""


class TextResult(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """What a completion or chat gave."""

    text: str
    tokens: tuple[int, ...] = ()
    stop: Literal["eos", "limit", "word"] = "eos"
    stopping_word: str = ""
    usage: Usage = Usage()
    timings: Timings = Timings()
    truncated: bool = False
    """Whether generation ended because the context was full."""
    slot: int = 0
    seed: int = 0
    prompt: str = ""
    """The prompt's text as the model saw it, where the params did not hold it (token ids, chat)."""
    dialect: Dialect = Dialect()
    probs: tuple[TokenProbs, ...] = ()
    in_force: InForce = InForce()


class ImageResult(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """What an image job gave: picture files, whose `parameters` text (PNG) or comment (JPEG, WebP) says how they were
    made."""

    pictures: tuple[bytes, ...]
    seeds: tuple[int, ...] = ()
    subseeds: tuple[int, ...] = ()
    infotexts: tuple[str, ...] = ()
    """That text of each picture."""
    width: int = 0
    """Pixels of the pictures."""
    height: int = 0
    maps: tuple[bytes, ...] = ()
    """PNG files: what preprocessors made of the controls' pictures."""
    facts: dict[str, Any] = {}
    """Checkpoint, its hash, sampler, schedule and whatever else the text names, by the names it uses."""
    notes: tuple[str, ...] = ()
    """What was done otherwise than asked, in words."""
    prompt_tokens: int = 0


class PromptResult(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """What `Render` gave."""

    prompt: str
    tokens: int
    dialect: Dialect = Dialect()


class TokensResult(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """What `Tokenize` gave."""

    tokens: tuple[int, ...]
    pieces: tuple[bytes, ...] = ()


class DetokenizedResult(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """What `Detokenize` gave."""

    text: str


class EmbedResult(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """What `Embed` gave: for each input a matrix of little-endian 32-bit floats, row after row: one row, or without
    pooling one for each token."""

    matrices: tuple[bytes, ...]
    dimensions: int
    """Values of a row."""
    tokens: tuple[int, ...]
    """Tokens of each input."""
    pooled: bool = True


class RerankResult(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """What `Rerank` gave."""

    scores: tuple[float, ...]
    """Of each document, in the order asked; higher is better."""
    tokens: int = 0


class SlotsResult(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """What `Slots` gave."""

    slots: tuple[dict[str, Any], ...] = ()
    """For `list`: as llama.cpp's server describes them."""
    tokens: int = 0
    """Tokens saved, restored or erased."""
    bytes: int = 0
    """Written or read."""
    ms: float = 0.0


Result = (
    TextResult
    | ImageResult
    | PromptResult
    | TokensResult
    | DetokenizedResult
    | EmbedResult
    | RerankResult
    | SlotsResult
)


class Completed(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Final: the job is done."""

    result: Result


class Failed(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Final: the job failed with a code of `velesio.errors`."""

    code: str
    message: str
    retry: bool = False
    """Whether another attempt could succeed (a crash of the engine, not a bad request)."""
    details: dict[str, Any] = {}
    traceback: str = ""
    """For the dead letters; never sent to clients."""


class Cancelled(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """Final: somebody cancelled the job."""

    reason: str = ""


Final = Completed | Failed | Cancelled
Event = Started | Delta | Progress | Preview | Completed | Failed | Cancelled
_FINAL = (Completed, Failed, Cancelled)
"""As a tuple: a union is made anew, and searched more slowly, at each of some questions for each token."""


def is_final(event: Event) -> bool:
    """Whether nothing follows `event`."""
    return isinstance(event, _FINAL)
