"""Params of jobs that draw pictures. Sizes are in pixels; files of pictures are PNG, JPEG or WebP."""

from typing import Literal

import msgspec


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
    overlay: bool = True
    """Whether the given picture's pixels are put back where nothing was made anew."""
    show: bool = False
    """Whether the mask, as it was used, is among the result's masks."""
    show_inside: bool = False
    """The same of what was made, transparent where the given picture shows."""


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
    merging: float = 0.0
    """As of `Image`, which has no say here."""


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
    s_min_uncond_all: bool = False
    """Below it every step does."""
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
    uni_pc_skip: Literal["time_uniform", "time_quadratic", "logSNR"] = "time_uniform"
    """How UniPC's own schedule lies in time."""
    zero_terminal_snr: bool = False
    """Whether the model's noise levels are changed so that the last one is nothing but noise."""
    half_alphas: bool = False
    """Whether the shares of signal that its levels mean are rounded to half precision."""
    whole_timesteps: bool = False
    """Whether a noise level is told to the UNet as the nearest whole timestep."""
    old_karras: bool = False
    """Whether the schedule Karras runs from 10 to 0.1, as A1111's first form of it did."""
    seed_delta: int = 0
    """Added to the seed of noise that samplers draw while they work."""


class Framing(msgspec.Struct, frozen=True, omit_defaults=True):
    """What Stable Diffusion XL is told of a picture besides its size."""

    top: int = 0
    """Pixels that it is said to have been cut by, above."""
    left: int = 0
    good: float = 6.0
    """The rating that a refiner is told for the prompt."""
    bad: float = 2.5
    """The one for the negative prompt."""


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
    clip_skip_xl: bool = False
    """Whether that moves the first text encoder of Stable Diffusion XL, too."""
    emphasis: Literal["original", "no_norm", "ignore", "none"] = "original"
    comma_backtrack: int = 20
    """Tokens after a comma that move to the next chunk with what follows."""
    old_edits: bool = False
    """Whether edits in prompts are timed as before A1111 1.6: numbers below 1 are parts of each pass by itself."""
    framing: Framing = Framing()
    merging: float = 0.0
    """The part of the UNet's tokens that are merged with others like them while it attends to itself, 0 to 0.9."""
    tiling: bool = False
    """Whether the picture's edges fit together."""
    init: tuple[bytes, ...] = ()
    """Picture files to begin with: one for all pictures, or one for each."""
    denoising: float = 0.75
    """How much of `init` is drawn anew, 0 to 1."""
    resize: Literal["stretch", "crop", "fill", "latent"] = "stretch"
    """How `init` comes to the size that was asked for."""
    upscaler: str = ""
    """What enlarges `init` where it is smaller than that; empty or "None": Lanczos."""
    background: str = "#ffffff"
    """What is behind the transparent parts of `init`: a colour as `#rrggbb`, or its name in CSS."""
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
    """The part after which it does: of the noise's times."""
    refiner_by_steps: bool = False
    """Whether it is a part of the steps."""
    refiner_passes: Literal["first", "second", "both"] = "second"
    """In which passes of a picture with `hires` it does."""
    controls: tuple[Control, ...] = ()
    adapters: tuple[Adapter, ...] = ()
    """LoRAs besides those that tags in the prompt name."""
    apply_tags: bool = True
    """Whether adapter tags in the prompt are obeyed; else they are only taken out."""
    vae: str = ""
    """A file of `vae/`; empty or "Automatic": the one beside the checkpoint, else its own; "None": its own."""
    encode_by: Literal["vae", "tiny"] = "vae"
    """tiny: a small autoencoder of `taesd/`, which is quick and less exact."""
    decode_by: Literal["vae", "tiny"] = "vae"
    tile: int = 192
    """Pixels of the parts in which networks that enlarge are shown a picture; 0: as a whole."""
    overlap: int = 8
    """Pixels that these share."""
    noise_source: Literal["", "cpu", "nv"] = ""
    """Which generator the seeds mean; nv: that of NVIDIA GPUs, on any device; empty: the model's option."""
    alone: bool = False
    """Whether its steps are never shared with other jobs' (bit for bit the same each time)."""
    preview_every: int = 0
    """Steps after which a preview is sent, where events are wanted; 0: none."""
    preview_by: Literal["matrix", "tiny", "vae"] = "matrix"
    """matrix: a rough picture that costs nothing. tiny: where `taesd/` has nothing for the model, as matrix."""
    preview_form: Literal["png", "jpeg", "webp", ""] = ""
    """Of previews' files; empty: as `form`."""
    extra: dict[str, str] = {}
    """Further lines for the text that is written into the pictures."""
    original_prompt: str = ""
    """The prompt for that text, where it differs from what the model is told."""
    form: Literal["png", "jpeg", "webp"] = "png"
    """Of the files that are made."""
    quality: int = 100
    """Of JPEG and WebP files, 0 to 100."""
    lossless: bool = False
    """Whether WebP files lose nothing."""
    untold: tuple[str, ...] = ()
    """Names of facts that the pictures' text leaves out; "*": there is none in the files."""
    lenient: bool = False
    """Whether unknown samplers and schedules are passed over with a note instead of refused."""

    @property
    def pictures(self) -> int:
        """How many it asks for, over all loops."""
        return self.batch * (self.loopback.loops if self.loopback else 1)
