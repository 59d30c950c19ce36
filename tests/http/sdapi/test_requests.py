"""Every documented field of A1111's requests does what its row says; values are coerced as its clients rely on."""

import base64
import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.http.conftest import ANYTHING
from velesio.errors import BadRequest, Unprocessable, Unsupported
from velesio.http.fields import Field
from velesio.http.sdapi import options
from velesio.http.sdapi.defaults import DEFAULTS
from velesio.http.sdapi.fields import BY_KIND, TOLD, Kind
from velesio.http.sdapi.requests import Asked, read, read_one, settled, told
from velesio.http.sdapi.styles import Style
from velesio.http.sdapi.values import parse
from velesio.jobs import Control, Hires, Image, Inpaint, Loopback, Mosaic, Outpaint

FILE = base64.b64encode(b"one").decode()
OTHER = base64.b64encode(b"other").decode()
TEXT = "a cat\nSteps: 9, Sampler: Heun, CFG scale: 3.5, Seed: 5, Size: 32x48, Clip skip: 2"
BASE: dict[str, dict[str, Any]] = {
    "txt2img": {"prompt": "a fox", "seed": 1, "subseed": 2, "force_task_id": "t"},
    "img2img": {"prompt": "a fox", "seed": 1, "subseed": 2, "force_task_id": "t", "init_images": [FILE]},
}
STYLES = {"ink": Style("ink", "ink drawing of {prompt}", "colour"), "soft": Style("soft", "soft light")}
UNIT = {"enabled": True, "model": "canny", "image": FILE}
HIRES = {"enable_hr": True}
MASKED = {"mask": FILE}
CHANGED: dict[str, Any] = {
    "prompt": "a cat", "negative_prompt": "dogs", "seed": 9, "subseed": 9, "subseed_strength": 0.5,
    "seed_resize_from_h": 32, "seed_resize_from_w": 32, "sampler_name": "Heun", "sampler_index": "Heun",
    "scheduler": "karras", "batch_size": 2, "n_iter": 2, "steps": 9, "cfg_scale": 3.0, "width": 64, "height": 64,
    "tiling": True, "eta": 0.5, "denoising_strength": 0.5, "s_min_uncond": 0.5, "s_churn": 0.5, "s_tmax": 5.0,
    "s_tmin": 0.5, "s_noise": 1.5, "override_settings": {"CLIP_stop_at_last_layers": 2}, "refiner_checkpoint": "r",
    "refiner_switch_at": 0.5, "disable_extra_networks": True, "alwayson_scripts": {"ControlNet": {"args": [UNIT]}},
    "send_images": False, "force_task_id": "u", "infotext": TEXT, "enable_hr": True, "hr_scale": 3.0,
    "hr_upscaler": "Lanczos", "hr_second_pass_steps": 5, "hr_resize_x": 64, "hr_resize_y": 64,
    "hr_checkpoint_name": "x", "hr_sampler_name": "Heun", "hr_scheduler": "karras", "hr_prompt": "h",
    "hr_negative_prompt": "h", "firstphase_width": 64, "firstphase_height": 64, "init_images": [OTHER],
    "resize_mode": 1, "mask": FILE, "mask_blur_x": 9, "mask_blur_y": 9, "mask_blur": 9, "mask_round": False,
    "inpainting_fill": 1, "inpaint_full_res": False, "inpaint_full_res_padding": 9, "inpainting_mask_invert": 1,
    "initial_noise_multiplier": 1.5, "include_init_images": True, "styles": ["ink"], "save_images": True,
    "lenient": True,
}  # fmt: skip
"""A value that asks for something, by field."""
BESIDE: dict[str, dict[str, Any]] = {
    **dict.fromkeys(
        (
            "hr_scale", "hr_upscaler", "hr_second_pass_steps", "hr_resize_x", "hr_resize_y", "hr_checkpoint_name",
            "hr_sampler_name", "hr_scheduler", "hr_prompt", "hr_negative_prompt", "firstphase_width",
            "firstphase_height",
        ),
        HIRES,
    ),
    **dict.fromkeys(
        (
            "mask_blur_x", "mask_blur_y", "mask_blur", "mask_round", "inpainting_fill", "inpaint_full_res",
            "inpaint_full_res_padding", "inpainting_mask_invert",
        ),
        MASKED,
    ),
    "override_settings_restore_afterwards": {"override_settings": {"CLIP_stop_at_last_layers": 2}},
    "denoising_strength": HIRES,
    "script_args": {"script_name": "prompt matrix", "prompt": "a fox|red"},
    "script_name": {"prompt": "a fox|red"},
    "save_images": {"batch_size": 2},
}  # fmt: skip
"""Fields that mean something only together with others."""
CHANGED |= {"override_settings_restore_afterwards": False, "script_args": [True], "script_name": "Prompt matrix"}

CASES = [(kind, name, field) for kind, fields in BY_KIND.items() for name, field in fields.items()]
IDS = [f"{kind}-{name}" for kind, name, _ in CASES]


def outcome(kind: Kind, body: dict[str, Any]) -> tuple[Any, ...]:
    """All that a request does but its echo."""
    asked = read(kind, body, {}, STYLES)
    shown = told(asked).get("init_images")
    return asked.params, asked.models, asked.task, asked.keep, asked.table, asked.values["send_images"], shown


@pytest.mark.parametrize(("kind", "name", "field"), CASES, ids=IDS)
def test_a_field_does_what_its_row_says(kind: Kind, name: str, field: Field) -> None:
    """What is honoured changes what is done, what has no effect is only told again, what is refused is named."""
    base = BASE[kind] | BESIDE.get(name, {})
    if field.fate == "honoured":
        assert outcome(kind, base | {name: CHANGED[name]}) != outcome(kind, base)
    elif field.fate == "no effect":
        value = {str: "x", bool: True, float: 1.5, list[str]: ["x"]}.get(field.type, {"x": 1})
        assert outcome(kind, base | {name: value}) == outcome(kind, base)
        assert told(read(kind, base | {name: value}, {}))[name] == value
    else:
        with pytest.raises(Unsupported, match=f"Field '{name}'"):
            read(kind, base | {name: True if field.type is bool else "x"}, {})


@pytest.mark.parametrize("kind", list(BY_KIND))
def test_what_is_left_out_is_the_default_and_so_is_null(kind: Kind) -> None:
    """Types of numbers and flags that clients read are never null in the answer."""
    asked = read(kind, BASE[kind], {})
    values = told(asked)
    assert values.keys() == BY_KIND[kind].keys() - {"include_init_images", "lenient"}
    assert all(values[name] == TOLD[name] for name in TOLD if name in values)
    nulls = dict.fromkeys(("steps", "width", "cfg_scale", "eta", "styles", "override_settings", "hr_upscaler"))
    assert read(kind, BASE[kind] | nulls, {}).params == asked.params


@pytest.mark.parametrize(
    ("name", "sent", "read_as"),
    [
        ("steps", "20", 20),
        ("steps", 20.7, 20),
        ("steps", True, 1),
        ("cfg_scale", 7, 7.0),
        ("cfg_scale", "7.5", 7.5),
        ("send_images", 0, False),
        ("send_images", "yes", True),
        ("prompt", 5, "5"),
        ("seed", "", -1),
        ("inpainting_mask_invert", True, 1),
    ],
)
def test_values_are_coerced(name: str, sent: Any, read_as: Any) -> None:
    """As by the framework that A1111 is built on."""
    asked = read("img2img", {"init_images": [FILE], name: sent}, {})
    assert asked.values[name] == read_as
    assert type(asked.values[name]) is type(read_as)


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("steps", "x", "type_error.integer"),
        ("steps", 10**30, "type_error.integer"),
        ("cfg_scale", [], "type_error.float"),
        ("cfg_scale", "nan", "type_error.float"),
        ("prompt", ["a"], "type_error.str"),
        ("tiling", "perhaps", "type_error.bool"),
        ("styles", "a", "type_error.list"),
        ("override_settings", [], "type_error.dict"),
        ("script_args", None, "type_error.none.not_allowed"),
    ],
)
def test_wrong_values_are_named_by_place_and_kind(name: str, value: Any, kind: str) -> None:
    """Several at once are all told."""
    with pytest.raises(Unprocessable) as caught:
        read("txt2img", {name: value, "batch_size": "many"}, {})
    detail = {tuple(each["loc"]): each["type"] for each in caught.value.details["detail"]}
    assert detail == {("body", name): kind, ("body", "batch_size"): "type_error.integer"}


@pytest.mark.parametrize("body", [b"", b"  ", b"[1]", b"{", b'{"a": "\xff"}'])
def test_bodies_that_are_no_object(body: bytes) -> None:
    """Are refused as a whole."""
    with pytest.raises(Unprocessable) as caught:
        parse(body)
    assert caught.value.details["detail"][0]["loc"] == ["body"]


OPTIONS: dict[str, Any] = {
    "sd_model_checkpoint": "m", "sd_vae": "v", "CLIP_stop_at_last_layers": 2, "emphasis": "No norm",
    "comma_padding_backtrack": 5, "randn_source": "NV", "tiling": True, "img2img_fix_steps": True,
    "img2img_extra_noise": 0.5, "initial_noise_multiplier": 1.5, "img2img_color_correction": True,
    "eta_ancestral": 0.5, "eta_ddim": 0.5, "s_churn": 0.5, "s_tmin": 0.5, "s_tmax": 5.0, "s_noise": 1.5,
    "s_min_uncond": 0.5, "skip_early_cond": 0.5, "sigma_min": 0.5, "sigma_max": 5.0, "rho": 3.0,
    "beta_dist_alpha": 0.5, "beta_dist_beta": 0.5, "always_discard_next_to_last_sigma": True,
    "sgm_noise_multiplier": True, "uni_pc_variant": "bh2", "uni_pc_order": 2, "uni_pc_lower_order_final": False,
    "sd_noise_schedule": "Zero Terminal SNR", "eta_noise_seed_delta": 31337, "inpainting_mask_weight": 0.5,
    "live_previews_enable": False, "samples_format": "jpg", "jpeg_quality": 50, "show_progress_every_n_steps": 3,
    "img2img_background_color": "#000", "webp_lossless": True, "sdxl_clip_l_skip": True, "use_old_scheduling": True,
    "upscaler_for_img2img": "4x", "ESRGAN_tile": 64, "ESRGAN_tile_overlap": 4, "sd_vae_encode_method": "TAESD",
    "sd_vae_decode_method": "TAESD", "refiner_switch_by_sample_steps": True, "hires_fix_refiner_pass": "both passes",
    "show_progress_type": "Full", "live_previews_image_format": "jpeg", "s_min_uncond_all": True,
    "uni_pc_skip_type": "logSNR", "use_downcasted_alpha_bar": True, "enable_quantization": True,
    "use_old_karras_scheduler_sigmas": True, "overlay_inpaint": False, "return_mask": True,
    "return_mask_composite": True, "token_merging_ratio": 0.5, "token_merging_ratio_img2img": 0.25,
    "token_merging_ratio_hr": 0.75, "sdxl_crop_top": 8, "sdxl_crop_left": 8, "enable_pnginfo": False,
    "sdxl_refiner_high_aesthetic_score": 7.0, "sdxl_refiner_low_aesthetic_score": 3.0,
    "add_model_name_to_info": False, "add_model_hash_to_info": False, "add_vae_name_to_info": False,
    "add_vae_hash_to_info": False, "add_version_to_infotext": False, "return_grid": False, "n_rows": 1,
    "grid_format": "webp", "grid_background_color": "#abc", "grid_text_active_color": "#123456",
    "control_net_no_detectmap": True,
}  # fmt: skip
"""A value that asks for something, by option."""
TOGETHER: dict[Kind, dict[str, Any]] = {
    "img2img": BASE["img2img"] | MASKED | {"save_images": True, "batch_size": 4,
                                           "alwayson_scripts": {"ControlNet": {"args": [UNIT]}}},
    "txt2img": BASE["txt2img"] | HIRES,
}  # fmt: skip
"""Bodies for which every option means something, in one of the two."""


def counts(key: str, value: Any) -> bool:
    """Whether an option changes the job of a body."""
    found = []
    for kind, body in TOGETHER.items():
        plain, stored = (read(kind, body, options.checked(each)) for each in ({}, {key: value}))
        overridden = read(kind, body | {"override_settings": {key: value}}, {})
        assert (overridden.params, overridden.table) == (stored.params, stored.table)
        assert overridden.keep == {}
        found.append((plain.params, plain.model, plain.table) != (stored.params, stored.model, stored.table))
    return any(found)


@pytest.mark.parametrize("key", options.HONOURED)
def test_an_option_counts_stored_and_for_one_request(key: str) -> None:
    """Both ways give the same job, which is another one than without."""
    assert counts(key, OPTIONS[key])


ANOTHER: dict[Any, Any] = {bool: lambda old: not old, int: lambda old: old + 1, float: lambda old: old + 1,
                           list: lambda old: ["x"]}  # fmt: skip


@pytest.mark.parametrize("key", options.IDLE)
def test_an_option_that_is_told_to_change_nothing_changes_nothing(key: str) -> None:
    """Whatever its value, the job is the same; the table has the reason."""
    old = DEFAULTS[key]
    assert not counts(key, ANOTHER.get(type(old), lambda _: "x")(old))
    assert len(options.IDLE[key].note) > 10


@pytest.mark.parametrize("key", options.REFUSED)
def test_an_option_that_asks_for_what_is_not_there_is_refused(key: str) -> None:
    """By its name, and with what to leave it at; its default asks for nothing."""
    assert options.checked({key: DEFAULTS[key]}) == {key: DEFAULTS[key]}
    with pytest.raises(Unsupported, match=f"{key}.*leave it"):
        options.checked({key: True if key == "face_restoration" else "something"})


def test_each_option_has_one_fate() -> None:
    """Every one of A1111's options is in one of the three tables, and in no other."""
    tables = [*options.HONOURED, *options.REFUSED, *options.IDLE]
    assert sorted(tables) == sorted(DEFAULTS)


def test_part_of_the_tokens_to_merge() -> None:
    """img2img and the second pass have their own, where that is not 0."""
    stored = {"token_merging_ratio": 0.5}
    assert read("img2img", BASE["img2img"], stored).params[0].merging == 0.5
    found = read("txt2img", BASE["txt2img"] | HIRES, stored).params[0]
    assert found.hires is not None
    assert (found.merging, found.hires.merging) == (0.5, 0.5)
    own = stored | {"token_merging_ratio_img2img": 0.25, "token_merging_ratio_hr": 2.0}
    assert read("img2img", BASE["img2img"], own).params[0].merging == 0.25
    found = read("txt2img", BASE["txt2img"] | HIRES, own).params[0]
    assert found.hires is not None
    assert (found.merging, found.hires.merging) == (0.5, 0.9)


def test_rows_of_the_sheet() -> None:
    """As many as fit, as the batch has pictures, or as many as are asked for."""
    body = BASE["txt2img"] | {"save_images": True, "batch_size": 2, "n_iter": 3}
    for rows, table in ((-1, (3, 2)), (0, (3, 2)), (1, (6, 1)), (4, (2, 4)), (99, (1, 6))):
        found = read("txt2img", body | {"override_settings": {"n_rows": rows}}, {}).table
        assert found is not None
        assert (found.columns, found.rows) == table


def test_all_options_are_there() -> None:
    """281 of them, and three of the ControlNet extension; what clients read, they may send back."""
    assert len(DEFAULTS) == 284
    assert options.checked(DEFAULTS).keys() <= DEFAULTS.keys()
    assert read("txt2img", BASE["txt2img"], options.checked(DEFAULTS)).params == one("txt2img").params


@pytest.mark.parametrize(
    "raw",
    [
        {"nothing": 1},
        {"font": "x" * 5000},
        {"emphasis": "loud"},
        {"uni_pc_variant": "bh3"},
        {"s_churn": "x"},
        {"img2img_background_color": "white"},
        {"grid_format": "gif"},
        {"sd_vae_decode_method": "Half"},
    ],
)
def test_options_that_are_refused(raw: dict[str, Any]) -> None:
    """Unknown names, long values, words that mean nothing, other types."""
    with pytest.raises(BadRequest):
        options.checked(raw)


def one(kind: Kind, **fields: Any) -> Asked:
    return read(kind, BASE[kind] | fields, {})


def image(kind: Kind, **fields: Any) -> Image:
    return one(kind, **fields).params[0]


def test_what_unity_sends_is_understood() -> None:
    """Its empty strings, nulls and zeros are no requests for anything."""
    found = image(
        "img2img", denoising_strength=0, styles=[""], hr_upscaler="", sampler_name="LMS Karras", sampler_index="Euler",
        restore_faces=False, tiling=False, eta=0, s_churn=0, s_tmax=0, s_tmin=0, s_noise=1, override_settings=None,
        override_settings_restore_afterwards=True, script_args=[], mask_blur=4, resize_mode=0, inpainting_fill=0,
        inpaint_full_res=True, inpainting_mask_invert=0, initial_noise_multiplier=1, include_init_images=False,
    )  # fmt: skip
    assert (found.sampler, found.denoising, found.inpaint, found.hires) == ("LMS Karras", 0.0, None, None)


def test_a_second_pass() -> None:
    """Names that say "the same" are empty; the old names of sizes make the first pass smaller."""
    found = image("txt2img", enable_hr=True, hr_sampler_name="Use same sampler", hr_upscaler=None, hr_prompt="b # c")
    assert found.hires == Hires(prompt="b ")
    old = image("txt2img", enable_hr=True, firstphase_width=64, firstphase_height=32, width=128, height=64)
    assert (old.width, old.height, old.hires) == (64, 32, Hires(width=128, height=64))


def test_a_mask() -> None:
    """By A1111's defaults, the masked part is drawn at full size."""
    assert image("img2img", mask=FILE).inpaint == Inpaint(mask=b"one", only_masked=True, padding=0)
    assert image("img2img", mask="").inpaint is None


def test_pictures_for_each_slot() -> None:
    """As many as the batch has: each its own; otherwise the first counts."""
    assert image("img2img", init_images=[FILE, OTHER], batch_size=2).init == (b"one", b"other")
    assert image("img2img", init_images=[FILE, OTHER], batch_size=3).init == (b"one",)


def test_iterations_go_on_where_the_last_one_ended() -> None:
    """Seeds, or with a variation the variation's."""
    seeds = [each.seed for each in one("txt2img", batch_size=2, n_iter=3).params]
    assert seeds == [1, 3, 5]
    varied = one("txt2img", batch_size=2, n_iter=3, subseed_strength=0.1).params
    assert [(each.seed, each.variation.seed) for each in varied] == [(1, 2), (1, 4), (1, 6)]


@pytest.mark.parametrize(
    ("unit", "control"),
    [
        ({"enabled": False, "model": "m"}, None),
        ({"enabled": True, "model": "None"}, None),
        ({"enabled": True, "model": "m", "control_mode": 2, "resize_mode": 2, "hr_option": "High res only"},
         Control(model="m", mode="control", resize="fill", passes="high")),
        ({"enabled": True, "model": "m", "image": {"image": FILE, "mask": OTHER}, "processor_res": 64},
         Control(model="m", image=b"one", mask=b"other", resolution=64)),
        ({"enabled": True, "model": "m", "image": [FILE, OTHER], "resize_mode": "Just Resize", "weight": "0.5"},
         Control(model="m", image=b"one", mask=b"other", resize="stretch", weight=0.5)),
    ],
)  # fmt: skip
def test_units_of_controlnet(unit: dict[str, Any], control: Control | None) -> None:
    """In all the forms that clients send; the script's name in any case."""
    found = image("txt2img", alwayson_scripts={"controlNET": {"args": [unit]}}).controls
    assert found == ((control,) if control else ())


def test_always_on_scripts_that_are_not_there() -> None:
    """Those for which a request has fields are passed over, those that are switched off too; others are refused."""
    off = {"Refiner": [True, "x", 0.5], "Seed": [5], "Soft Inpainting": [False, 1], "hypertile": [], "other": []}
    assert image("txt2img", alwayson_scripts={name: {"args": args} for name, args in off.items()}) == image("txt2img")
    for name, args, kind in (
        ("Soft Inpainting", [True, 1], Unsupported),
        ("ADetailer", [True], Unprocessable),
        ("Loopback", [], Unprocessable),
    ):
        with pytest.raises(kind):
            image("txt2img", alwayson_scripts={name: {"args": args}})


def test_outpainting() -> None:
    """By place, with A1111's defaults for what is left out."""
    script = {"script_name": "Poor man's outpainting"}
    assert image("img2img", **script).outpaint == Outpaint(left=128, right=128, up=128, down=128)
    found = image("img2img", **script, script_args=[64, 8, 2, ["left"]]).outpaint
    assert found == Outpaint(left=64, blur=8.0, content="noise")
    with pytest.raises(Unprocessable):
        image("img2img", **script, script_args=[64, 8, 2, ["sideways"]])


SIDES = {"left": 128, "right": 128, "up": 128, "down": 128}


@pytest.mark.parametrize(
    ("script", "args", "found"),
    [
        ("Outpainting mk2", [], {"outpaint": Outpaint(**SIDES, blur=8.0, content="texture")}),
        ("Outpainting mk2", ["", 64, 4, ["up"], 1.5, 0.2],
         {"outpaint": Outpaint(up=64, blur=4.0, content="texture", detail=1.5, colours=0.2)}),
        ("Loopback", [], {"loopback": Loopback()}),
        ("loopback", [3, 0.9, "Lazy", "None"], {"loopback": Loopback(3, 0.9, "lazy")}),
        ("SD upscale", [], {"mosaic": Mosaic(upscaler="None"), "batch": 1}),
        ("SD upscale", ["", 32, 1, 3], {"mosaic": Mosaic(3.0, 32, "Lanczos"), "batch": 1}),
        ("SD upscale", ["", 32, "4x"], {"mosaic": Mosaic(2.0, 32, "4x"), "batch": 1}),
    ],
)  # fmt: skip
def test_scripts_that_draw_a_given_picture(script: str, args: list[Any], found: dict[str, Any]) -> None:
    """Their arguments by place, with A1111's defaults; tiles are no pictures."""
    made = image("img2img", script_name=script, script_args=args, batch_size=2)
    assert {name: getattr(made, name) for name in found} == found


@pytest.mark.parametrize(
    ("script", "args"),
    [
        ("outpainting mk2", ["", "wide"]),
        ("outpainting mk2", ["", 64, 4, []]),
        ("loopback", [0]),
        ("loopback", [4, 0.5, "quadratic"]),
        ("loopback", [4, 0.5, "Linear", "CLIP"]),
        ("sd upscale", ["", 64, 17]),
        ("sd upscale", ["", 64, "Lanczos", 0]),
    ],
)
def test_arguments_of_scripts_that_cannot_be_read(script: str, args: list[Any]) -> None:
    """They are refused by name."""
    with pytest.raises((Unprocessable, Unsupported)):
        image("img2img", script_name=script, script_args=args)


def test_seeds_of_iterations_go_on_behind_all_loops() -> None:
    """Two iterations of three loops have six seeds."""
    asked = one("img2img", script_name="loopback", script_args=[3], n_iter=2, seed=10)
    assert [each.seed for each in asked.params] == [10, 13]


def test_styles_are_put_around_both_prompts() -> None:
    """In their order, where `{prompt}` stands or behind it; the echo has the request's own."""
    asked = read("txt2img", {"prompt": "a fox", "negative_prompt": "dogs", "styles": ["ink", "?", "soft"]}, {}, STYLES)
    assert asked.params[0].prompt == "ink drawing of a fox, soft light"
    assert asked.params[0].negative_prompt == "dogs, colour"
    assert (told(asked)["prompt"], told(asked)["styles"]) == ("a fox", ["ink", "?", "soft"])


def test_a_sheet_of_all_pictures_comes_where_they_would_be_saved() -> None:
    """Of several ones, unless the option says otherwise."""
    assert one("txt2img", save_images=True).table is None
    assert one("txt2img", batch_size=4).table is None
    found = one("txt2img", save_images=True, batch_size=2, n_iter=3).table
    assert found is not None
    assert (found.columns, found.rows) == (3, 2)
    assert one("txt2img", save_images=True, batch_size=4, override_settings={"return_grid": False}).table is None


def test_a_settled_request_needs_nobody() -> None:
    """Options that were stored, styles and leniency stand in it, so that it gives the same job to whoever reads it."""
    raw = {"prompt": "a fox", "seed": 1, "subseed": 2, "steps": 40, "styles": ["ink"]}
    raw |= {"override_settings": {"eta_ddim": 0.5}}
    stored = {"CLIP_stop_at_last_layers": 2, "sd_model_checkpoint": "m", "eta_ddim": 0.25}
    kept = settled("txt2img", raw, stored, STYLES, lenient=True)
    direct = read("txt2img", {"lenient": True} | raw, stored, STYLES)
    later = read_one("txt2img", kept)
    [asked], [known] = later.params, direct.params
    assert later.models == direct.models
    # In the background a picture is shown a few times only.
    assert asked.preview_every == max(-(-asked.steps // 4), known.preview_every)
    assert msgspec.structs.replace(asked, preview_every=known.preview_every) == known
    assert later.params[0].lenient
    again = settled("txt2img", kept, {}, {}, lenient=False)
    assert read_one("txt2img", again).params == later.params


def test_as_one_job_iterations_are_one_batch() -> None:
    """With the pictures of all of them."""
    found = read_one("txt2img", {"prompt": "a fox", "seed": 5, "subseed": 1, "batch_size": 2, "n_iter": 3}).params
    assert [(each.seed, each.batch) for each in found] == [(5, 6)]
    opened = read_one("txt2img", {"subseed_strength": 0.5}).params[0]
    assert (opened.seed, opened.variation.seed) == (-1, -1)
    with pytest.raises(Unsupported, match="sheet"):
        read_one("txt2img", {"prompt": "a|b", "script_name": "prompt matrix"})


def test_a_pictures_text_fills_what_is_not_said() -> None:
    """Fields and options; what the request says itself counts more."""
    asked = read("txt2img", {"infotext": TEXT, "steps": 4}, {})
    found = asked.params[0]
    assert (found.prompt, found.steps, found.sampler, found.cfg) == ("a cat", 4, "Heun", 3.5)
    assert (found.seed, found.width, found.height, found.clip_skip) == (5, 32, 48, 2)


def test_what_a_text_says_of_options_and_masks() -> None:
    """Each is what it was when the picture was made."""
    text = (
        "a cat\nSteps: 9, Sampler: UniPC, Token merging ratio: 0.5, NGMS all steps: True, VAE Decoder: TAESD, "
        "UniPC skip type: logSNR, Noise Schedule: Zero Terminal SNR, Downcast alphas_cumprod: True, Mask blur: 2, "
        "Inpaint area: Only masked, Masked area padding: 16, Masked content: latent noise, Mask mode: Inpaint not "
        "masked, Conditional mask weight: 0.5, Old prompt editing timelines: True"
    )
    found = read("img2img", {"infotext": text, "init_images": [FILE], "mask": FILE}, {}).params[0]
    assert (found.merging, found.decode_by, found.old_edits) == (0.5, "tiny", True)
    solving = found.solving
    assert (solving.s_min_uncond_all, solving.uni_pc_skip, solving.zero_terminal_snr) == (True, "logSNR", True)
    assert solving.half_alphas
    assert found.inpaint == Inpaint(
        mask=b"one", blur_x=2.0, blur_y=2.0, content="noise", only_masked=True, padding=16, invert=True, mask_weight=0.5
    )
    whole = text.replace("Inpaint area: Only masked, ", "").replace("Masked content: latent noise, ", "")
    again = read("img2img", {"infotext": whole, "init_images": [FILE], "mask": FILE}, {}).params[0].inpaint
    assert again is not None
    assert (again.only_masked, again.content) == (False, "original")


@given(kind=st.sampled_from(["txt2img", "img2img"]), data=st.data())
def test_no_body_breaks_the_reader(kind: Kind, data: st.DataObject) -> None:
    """It is read, or refused by name."""
    names = st.sampled_from(sorted(BY_KIND[kind]))
    body = data.draw(st.dictionaries(names, ANYTHING, max_size=4))
    with contextlib.suppress(BadRequest):
        read(kind, BASE[kind] | body, {})


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(raw=st.dictionaries(st.sampled_from(sorted(DEFAULTS)), ANYTHING, max_size=4))
def test_no_option_breaks_the_reader(raw: dict[str, Any]) -> None:
    """What was accepted can be used by every request after."""
    try:
        kept = options.checked(raw)
    except BadRequest:
        return
    msgspec.json.encode(kept)
    read("img2img", BASE["img2img"] | MASKED, kept)
