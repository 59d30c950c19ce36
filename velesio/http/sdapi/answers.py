"""Answers to requests for pictures, as A1111 writes them."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from velesio import __version__
from velesio.http.sdapi.pictures import encoded
from velesio.http.sdapi.requests import Asked, told
from velesio.jobs import Image, ImageResult, born

STAMP = "%Y%m%d%H%M%S"
"""How A1111 writes times."""


class Drawn(msgspec.Struct, frozen=True, kw_only=True):
    """What one job of a request gave."""

    params: Image
    result: ImageResult | None
    """None: it was stopped."""
    preview: bytes = b""
    """How a stopped one's picture looked; empty: nobody knows."""

    @property
    def pictures(self) -> tuple[bytes, ...]:
        """Files."""
        if self.result is not None:
            return self.result.pictures
        return (self.preview,) if self.preview else ()

    @property
    def infotexts(self) -> tuple[str, ...]:
        """One for each of the pictures."""
        texts = self.result.infotexts if self.result is not None else ()
        return (*texts, *[""] * len(self.pictures))[: len(self.pictures)]

    @property
    def seeds(self) -> tuple[int, ...]:
        """One for each of the pictures that were asked for."""
        if self.result is not None and len(self.result.seeds) == self.params.pictures:
            return self.result.seeds
        first, fixed = self.params.seed, bool(self.params.variation.strength)
        return tuple(first if fixed else first + index for index in range(self.params.pictures))

    @property
    def subseeds(self) -> tuple[int, ...]:
        """As `seeds`."""
        if self.result is not None and len(self.result.subseeds) == self.params.pictures:
            return self.result.subseeds
        return tuple(self.params.variation.seed + index for index in range(self.params.pictures))


class Sheets(msgspec.Struct, frozen=True):
    """All pictures on one file or on several, which stand before them."""

    files: tuple[bytes, ...] = ()
    note: str = ""
    """Why there is none, where there should be."""


NO_SHEETS = Sheets()


def write(asked: Asked, model: str, drawn: Sequence[Drawn], stamp: str, sheets: Sheets = NO_SHEETS) -> dict[str, Any]:
    """The answer. Masks stand behind the pictures, and maps of ControlNet behind those."""
    results = [each.result for each in drawn if each.result is not None]
    masks, maps = ([file for each in results for file in getattr(each, name)] for name in ("masks", "maps"))
    pictures = [file for each in drawn for file in each.pictures] if asked.table is None or asked.table.pictures else []
    files = [*sheets.files, *pictures, *masks, *maps]
    said = info(asked, model, drawn, stamp) | {"index_of_first_image": len(sheets.files)}
    texts = said["infotexts"]
    said["infotexts"] = texts[:1] * len(sheets.files) + texts[: len(pictures)]
    if noted := [*filter(None, [sheets.note]), *_notes(drawn)]:
        said["extra_comments"] = noted
    return {
        "images": [encoded(file) for file in files] if asked.values["send_images"] else [],
        "parameters": told(asked),
        "info": json.dumps(said, ensure_ascii=False),
    }


def written(asked: Asked, model: str, job_id: str, results: Sequence[ImageResult]) -> dict[str, Any]:
    """The answer of a single job that is done, whenever it is asked for."""
    drawn = [Drawn(params=params, result=result) for params, result in zip(asked.params, results, strict=True)]
    made = datetime.fromtimestamp(born(job_id) if job_id else 0, UTC)
    return write(asked, model, drawn, made.strftime(STAMP))


def info(asked: Asked, model: str, drawn: Sequence[Drawn], stamp: str) -> dict[str, Any]:
    """What `info` says. Numbers are never null."""
    params, result = asked.params[0], next((each.result for each in drawn if each.result is not None), None)
    facts = result.facts if result is not None else {}
    seeds = [seed for each in drawn for seed in each.seeds]
    subseeds = [seed for each in drawn for seed in each.subseeds]
    return {
        "prompt": params.prompt,
        "all_prompts": [each.params.prompt for each in drawn for _ in each.seeds],
        "negative_prompt": params.negative_prompt,
        "all_negative_prompts": [each.params.negative_prompt for each in drawn for _ in each.seeds],
        "seed": seeds[0],
        "all_seeds": seeds,
        "subseed": subseeds[0],
        "all_subseeds": subseeds,
        "subseed_strength": params.variation.strength,
        "width": (result.width if result is not None else 0) or params.width,
        "height": (result.height if result is not None else 0) or params.height,
        "sampler_name": facts.get("Sampler", params.sampler),
        "cfg_scale": params.cfg,
        "steps": params.steps,
        "batch_size": params.batch,
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": facts.get("Model", model),
        "sd_model_hash": facts.get("Model hash", ""),
        "sd_vae_name": facts.get("VAE"),
        "sd_vae_hash": facts.get("VAE hash"),
        "seed_resize_from_w": params.variation.from_width or -1,
        "seed_resize_from_h": params.variation.from_height or -1,
        "denoising_strength": asked.values["denoising_strength"],
        "extra_generation_params": _extra(facts),
        "index_of_first_image": 0,
        "infotexts": [text for each in drawn for text in each.infotexts],
        "styles": asked.values["styles"] or [],
        "job_timestamp": stamp,
        "clip_skip": params.clip_skip,
        "is_using_inpainting_conditioning": False,
        "version": f"velesio v{__version__}",
    }


_FIRST = {
    "Steps", "Sampler", "CFG scale", "Seed", "Size", "Model hash", "Model", "VAE hash", "VAE", "Clip skip", "Version",
    "Denoising strength",
}  # fmt: skip
"""Facts that have a place of their own in `info`."""


def _extra(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name not in _FIRST}


def _notes(drawn: Sequence[Drawn]) -> list[str]:
    """What was done otherwise than asked, once each; clients pass over the key."""
    return list(dict.fromkeys(note for each in drawn if each.result is not None for note in each.result.notes))
