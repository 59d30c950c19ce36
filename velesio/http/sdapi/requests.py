"""Requests for pictures in A1111's words, read: what is asked of the jobs, and what the answer tells again."""

import re
import secrets
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from velesio.errors import NotFound, Unsupported
from velesio.http.fields import refuse
from velesio.http.sdapi import options as sdapi_options
from velesio.http.sdapi import plots, redrawing, scripts, texts
from velesio.http.sdapi import styles as sdapi_styles
from velesio.http.sdapi.defaults import DEFAULTS
from velesio.http.sdapi.fields import BY_KIND, NEVER_NULL, NOT_TOLD, TOLD, Kind
from velesio.http.sdapi.pictures import decoded
from velesio.http.sdapi.plots import Cell, Table
from velesio.http.sdapi.styles import StylesByName
from velesio.http.sdapi.values import read as read_values
from velesio.http.wire import bad_field
from velesio.jobs import Hires, Image, Inpaint, Solving, Variation
from velesio.pictures import comments

_SEEDS = 4294967294
"""Seeds that are drawn lie below this."""
_MOST_ROUNDS = 100
_FEW = 4
"""Parts of the steps with a preview between them."""
_TASK = re.compile(r"[ -~]{1,200}")
_SAME = {"", "none", "use same sampler", "use same scheduler", "use same checkpoint"}
_RESIZES: tuple[Literal["stretch", "crop", "fill", "latent"], ...] = ("stretch", "crop", "fill", "latent")
_CONTENTS: tuple[Literal["fill", "original", "noise", "nothing"], ...] = ("fill", "original", "noise", "nothing")


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request, read."""

    kind: Kind
    models: tuple[str, ...]
    """By any of their names, one for each of `params`; an empty one is the first there is."""
    params: tuple[Image, ...]
    """One for each of `n_iter`, or for each cell of the table that a script draws."""
    values: dict[str, Any]
    """Every field, after defaults."""
    task: str
    keep: dict[str, Any]
    """Options that stay set afterwards."""
    table: Table | None = None
    """How the pictures stand on a sheet that comes before them; None: there is no sheet."""

    @property
    def model(self) -> str:
        """Of the first ones."""
        return self.models[0]


def read(kind: Kind, raw: Mapping[str, Any], stored: Mapping[str, Any], styles: StylesByName | None = None) -> Asked:
    """A request from its body; `stored` are the options that the client has set, `styles` those that it may name.

    Raises:
        BadRequest: naming the field; Unprocessable where its value has a wrong type.
        Unsupported: it asks for something that is not there.
    """
    fields = BY_KIND[kind]
    raw, of_text = texts.filled(kind, raw)
    refuse(raw, fields)
    values = read_values(raw, fields, NEVER_NULL)
    overrides = of_text | sdapi_options.overriding(values["override_settings"])
    whole = Cell(values, dict(DEFAULTS) | dict(stored) | overrides)
    script = scripts.selected(kind, values["script_name"])
    sheet: Table | None
    if script in {plots.MATRIX, plots.XYZ}:
        cells, table = plots.planned(kind, script, whole)
        sheet = msgspec.structs.replace(table, **sdapi_options.sheet_fields(whole.options))
        params = tuple(_image(kind, cell, "", styles or {}) for cell in cells)
    else:
        params = _rounds(_image(kind, whole, script, styles or {}), values["n_iter"])
        cells, sheet = (whole,) * len(params), _grid(whole, sum(each.batch for each in params))
    return Asked(
        kind=kind,
        models=tuple(cell.options[sdapi_options.MODEL] or "" for cell in cells),
        params=params,
        values=values,
        task=_task(kind, values["force_task_id"]),
        keep={} if values["override_settings_restore_afterwards"] else overrides,
        table=sheet,
    )


def _grid(whole: Cell, count: int) -> Table | None:
    """A sheet of all pictures, where A1111 saves and gives one: `save_images`, and more than one picture."""
    wanted = whole.values["save_images"] and whole.options["return_grid"]
    if not wanted or count < 2:
        return None
    rows = whole.options["n_rows"] or whole.values["batch_size"]
    table = plots.grid(count, rows=min(rows, count))
    return msgspec.structs.replace(table, **sdapi_options.sheet_fields(whole.options))


def read_one(kind: Kind, raw: Mapping[str, Any]) -> Asked:
    """A request as a single job, whose pictures are those of all iterations; raises as `read`.

    Raises:
        Unsupported: a script would make more of it.
    """
    asked = read(kind, raw, {})
    first, count = asked.params[0], sum(each.batch for each in asked.params)
    if asked.table is not None:
        raise Unsupported("what draws a sheet of pictures is not made in the background; leave script_name out")
    # What a job says in the background is kept until somebody reads it, so that there are few previews.
    every = max(first.preview_every, -(-first.steps // _FEW)) if first.preview_every else 0
    # Seeds that are left open stay so: whoever reads the body once more, for the answer, asks for the same.
    seed, subseed = (number if asked.values[name] >= 0 else -1 for name, number in _seeds_of(first))
    varied = msgspec.structs.replace(first.variation, seed=subseed)
    whole = msgspec.structs.replace(first, batch=count, preview_every=every, seed=seed, variation=varied)
    return msgspec.structs.replace(asked, models=asked.models[:1], params=(whole,))


def _seeds_of(image: Image) -> tuple[tuple[str, int], tuple[str, int]]:
    return ("seed", image.seed), ("subseed", image.variation.seed)


def settled(
    kind: Kind, raw: Mapping[str, Any], stored: Mapping[str, Any], styles: StylesByName, *, lenient: bool
) -> dict[str, Any]:
    """A body that means to everybody, at any time, what it means now to the client that sent it."""
    found = {"lenient": lenient} | dict(raw)
    if isinstance(overrides := raw.get("override_settings"), dict | None):
        found["override_settings"] = dict(stored) | texts.filled(kind, raw)[1] | (overrides or {})
    if isinstance(names := raw.get("styles"), list):
        prompt, negative = (str(raw.get(name) or "") for name in ("prompt", "negative_prompt"))
        known = sdapi_styles.named([name for name in names if isinstance(name, str)], styles)
        found["prompt"], found["negative_prompt"] = sdapi_styles.applied(prompt, negative, known)
        found["styles"] = []
    return found


def _task(kind: Kind, asked: str | None) -> str:
    task = asked or f"task({kind}-{secrets.token_hex(4)})"
    if not _TASK.fullmatch(task):
        raise bad_field("force_task_id", "expected 1 to 200 printable ASCII characters")
    return task


def _rounds(first: Image, count: int) -> tuple[Image, ...]:
    """One job for each iteration; together they are what one job of all pictures would be."""
    if not 1 <= count <= _MOST_ROUNDS:
        raise bad_field("n_iter", f"is {count}; it must lie between 1 and {_MOST_ROUNDS}")
    rounds = []
    for number in range(count):
        begin = number * first.pictures
        varied = msgspec.structs.replace(first.variation, seed=first.variation.seed + begin)
        seed = first.seed if first.variation.strength else first.seed + begin
        rounds.append(msgspec.structs.replace(first, seed=seed, variation=varied))
    return tuple(rounds)


def _image(kind: Kind, cell: Cell, script: str, styles: StylesByName) -> Image:
    values, options = cell
    given: dict[str, Any] = sdapi_options.image_fields(options)
    chosen = sdapi_styles.named(values["styles"], styles)
    prompt, negative_prompt = sdapi_styles.applied(values["prompt"], values["negative_prompt"], chosen)
    for field, name in (("tiling", "tiling"), ("noise_multiplier", "initial_noise_multiplier")):
        if values.get(name) is not None:
            given[field] = values[name]
    image = Image(
        prompt=comments.without(prompt),
        negative_prompt=comments.without(negative_prompt),
        width=_side(values, "width"),
        height=_side(values, "height"),
        steps=values["steps"],
        seed=_seed(values, "seed"),
        cfg=values["cfg_scale"],
        sampler=values["sampler_name"] or values["sampler_index"] or "Euler",
        schedule=_other(values["scheduler"]),
        batch=_batch(values),
        variation=Variation(
            seed=_seed(values, "subseed"),
            strength=min(max(values["subseed_strength"], 0.0), 1.0),
            from_width=max(values["seed_resize_from_w"], 0),
            from_height=max(values["seed_resize_from_h"], 0),
        ),
        solving=_solving(values, options),
        refiner=_other(values["refiner_checkpoint"]),
        refiner_at=0.8 if values["refiner_switch_at"] is None else values["refiner_switch_at"],
        framing=sdapi_options.framing(options),
        merging=sdapi_options.merging(options, kind),
        untold=sdapi_options.untold(options),
        apply_tags=not values["disable_extra_networks"],
        controls=scripts.controls(values["alwayson_scripts"], show=not options["control_net_no_detectmap"]),
        lenient=bool(values["lenient"]),
        preview_every=sdapi_options.preview_every(options),
        **given,
    )
    image = msgspec.structs.replace(image, **redrawing.fields(script, values["script_args"]))
    return _enlarged(image, values, options) if kind == "txt2img" else _redrawn(image, values, options)


def _side(values: Mapping[str, Any], name: str) -> int:
    found: int = values[name]
    if not 1 <= found <= 65536:
        raise bad_field(name, f"is {found}; it must lie between 1 and 65536 pixels")
    return found


def _batch(values: Mapping[str, Any]) -> int:
    found: int = values["batch_size"]
    if found < 1:
        raise bad_field("batch_size", f"is {found}; it must be at least 1")
    return found


def _seed(values: Mapping[str, Any], name: str) -> int:
    found: int = values[name]
    if found > 2**62:
        raise bad_field(name, "must be less than 2^62")
    return found if found >= 0 else secrets.randbelow(_SEEDS)


def _other(name: str | None) -> str:
    """A name that may say "the same"."""
    return "" if name is None or name.lower() in _SAME else name


def _solving(values: Mapping[str, Any], options: Mapping[str, Any]) -> Solving:
    given = sdapi_options.solving_fields(options)
    for name in ("s_min_uncond", "s_churn", "s_tmin", "s_tmax", "s_noise"):
        if values[name] is not None:
            given[name] = values[name]
    if values["eta"] is not None:
        given |= {"eta": values["eta"], "eta_ddim": values["eta"]}
    return Solving(**given)


def _enlarged(image: Image, values: Mapping[str, Any], options: Mapping[str, Any]) -> Image:
    if not values["enable_hr"]:
        return image
    hires = Hires(
        scale=values["hr_scale"],
        width=max(values["hr_resize_x"], 0),
        height=max(values["hr_resize_y"], 0),
        upscaler=values["hr_upscaler"] or "Latent",
        steps=max(values["hr_second_pass_steps"], 0),
        denoising=values["denoising_strength"],
        sampler=_other(values["hr_sampler_name"]),
        schedule=_other(values["hr_scheduler"]),
        prompt=comments.without(values["hr_prompt"]),
        negative_prompt=comments.without(values["hr_negative_prompt"]),
        checkpoint=_other(values["hr_checkpoint_name"]),
        merging=sdapi_options.merging(options, "hr"),
    )
    first = values["firstphase_width"], values["firstphase_height"]
    if any(side > 0 for side in first):
        hires = msgspec.structs.replace(hires, width=image.width, height=image.height)
        width, height = (
            side if side > 0 else own for side, own in zip(first, (image.width, image.height), strict=True)
        )
        image = msgspec.structs.replace(image, width=width, height=height)
    return msgspec.structs.replace(image, hires=hires)


def _redrawn(image: Image, values: Mapping[str, Any], options: Mapping[str, Any]) -> Image:
    if not values["init_images"]:
        raise InitImageMissing(param="init_images")
    files = tuple(decoded(each, f"init_images[{index}]") for index, each in enumerate(values["init_images"]))
    return msgspec.structs.replace(
        image,
        init=files if len(files) == image.batch else files[:1],
        denoising=values["denoising_strength"],
        resize=_of(_RESIZES, values, "resize_mode"),
        inpaint=_inpaint(values, options) if values["mask"] else None,
    )


class InitImageMissing(NotFound):
    """Init image not found: send `init_images`"""


def _inpaint(values: Mapping[str, Any], options: Mapping[str, Any]) -> Inpaint:
    both = values["mask_blur"]
    return Inpaint(
        mask=decoded(values["mask"], "mask"),
        blur_x=float(values["mask_blur_x"] if both is None else both),
        blur_y=float(values["mask_blur_y"] if both is None else both),
        hard=values["mask_round"],
        invert=bool(values["inpainting_mask_invert"]),
        content=_of(_CONTENTS, values, "inpainting_fill"),
        only_masked=values["inpaint_full_res"],
        padding=max(values["inpaint_full_res_padding"], 0),
        mask_weight=options["inpainting_mask_weight"],
        overlay=options["overlay_inpaint"],
        show=options["return_mask"],
        show_inside=options["return_mask_composite"],
    )


def _of(words: tuple[Any, ...], values: Mapping[str, Any], name: str) -> Any:
    found = values[name]
    if found not in range(len(words)):
        raise bad_field(name, f"is {found}; it must lie between 0 and {len(words) - 1}")
    return words[found]


def told(asked: Asked) -> dict[str, Any]:
    """The `parameters` of the answer: what was asked after defaults, without the pictures."""
    values = {name: value for name, value in asked.values.items() if name not in NOT_TOLD}
    if asked.kind == "img2img" and not asked.values["include_init_images"]:
        values |= {"init_images": None, "mask": None}
    return values | {name: value for name, value in TOLD.items() if name in values and values[name] is None}
