"""Pictures that the soak asks for: of words, of pictures, along edges, enlarged, with previews, broken off or wrong."""

import asyncio
import base64
import functools
import io
from typing import Any

from PIL import Image, ImageDraw

from benches.soak_client import Client, Failed
from benches.soak_servers import FURTHER, PICTURES

_FORMS = ("circle", "square", "star", "heart", "tree", "key", "sword", "house", "moon", "potion")
_COLOURS = ("red", "blue", "green", "yellow", "purple", "orange", "pink", "black")
_SAMPLERS = ("DPM++ 2M Karras", "Euler a", "Euler", "DDIM", "UniPC", "Heun", "DPM++ SDE")
_CONTROL = "velesio-demo-canny"
_SWITCHES = 0.2
"""Part of the pictures that the other checkpoint draws."""
_POLL = 0.1
_LONG = 120


def _prompt(client: Client) -> str:
    chance = client.chance
    words = f"a {chance.choice(_COLOURS)} {chance.choice(_FORMS)}"
    if chance.random() < 0.3:
        words += f" <lora:outline:{chance.choice([0.4, 0.7, 1.0])}>"
    return f"{words}, night" if chance.random() < 0.1 else words


def _body(client: Client, **fields: Any) -> dict[str, Any]:
    chance = client.chance
    body = {
        "prompt": _prompt(client),
        "negative_prompt": chance.choice(["", "blurry"]),
        "sampler_name": chance.choice(_SAMPLERS),
        "steps": chance.randrange(4, 16),
        "cfg_scale": chance.choice([1.0, 4.0, 7.0]),
        "width": 64,
        "height": 64,
        "seed": chance.randrange(1 << 31),
    }
    if chance.random() < _SWITCHES:
        body["override_settings"] = {"sd_model_checkpoint": FURTHER}
    return body | fields


@functools.cache
def _drawing(number: int) -> str:
    """One of ten small pictures, in base64."""
    picture = Image.new("RGB", (64, 64), _COLOURS[number % len(_COLOURS)])
    ImageDraw.Draw(picture).ellipse((8 + number, 10, 50, 54 - number), fill="white")
    return _file(picture)


@functools.cache
def _mask() -> str:
    picture = Image.new("L", (64, 64), 0)
    ImageDraw.Draw(picture).rectangle((16, 16, 47, 47), fill=255)
    return _file(picture)


def _file(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def _checked(answer: Any, count: int, side: int = 64) -> None:
    """Every picture opens and has its size."""
    pictures = [Image.open(io.BytesIO(base64.b64decode(one))) for one in answer["images"]]
    if [picture.size for picture in pictures] != [(side, side)] * count:
        raise Failed(f"{[picture.size for picture in pictures]} instead of {count} pictures of {side}")


async def txt2img(client: Client) -> None:
    """One or two pictures of words."""
    count = client.chance.choice([1, 1, 1, 2])
    _checked(await client.post("/sdapi/v1/txt2img", _body(client, batch_size=count)), count)


async def img2img(client: Client) -> None:
    """A picture drawn anew, half of the time in a part only."""
    body = _body(client, init_images=[_drawing(client.chance.randrange(10))], denoising_strength=0.6)
    if client.chance.random() < 0.5:
        body |= {"mask": _mask(), "inpainting_fill": 1, "inpaint_full_res": client.chance.random() < 0.5}
    _checked(await client.post("/sdapi/v1/img2img", body), 1)


async def control(client: Client) -> None:
    """A picture along the edges of another."""
    drawing = _drawing(client.chance.randrange(10))
    unit = {"image": drawing, "module": "canny", "model": _CONTROL, "weight": 1.0, "processor_res": 64}
    body = _body(client, alwayson_scripts={"ControlNet": {"args": [unit]}})
    answer = await client.post("/sdapi/v1/txt2img", body)
    if len(answer["images"]) < 1:
        raise Failed("no picture along the edges")


async def enlarged(client: Client) -> None:
    """A second pass over an enlarged picture, at times by the other checkpoint."""
    body = _body(client, enable_hr=True, hr_scale=2, hr_upscaler="Latent", hr_second_pass_steps=4)
    if client.chance.random() < 0.3:
        body["hr_checkpoint_name"] = PICTURES if "override_settings" in body else FURTHER
    _checked(await client.post("/sdapi/v1/txt2img", body), 1, 128)


async def upscaled(client: Client) -> None:
    """A picture enlarged as it is; no job of the UNet's."""
    body = {"image": _drawing(client.chance.randrange(10)), "upscaling_resize": 2, "upscaler_1": "Lanczos"}
    answer = await client.post("/sdapi/v1/extra-single-image", body)
    _checked({"images": [answer["image"]]}, 1, 128)


async def openai_picture(client: Client) -> None:
    """As OpenAI's clients ask, with previews in the stream."""
    body = {"model": PICTURES, "prompt": _prompt(client), "size": "64x64", "partial_images": 2, "steps": 10}
    events = [event for event in await client.stream("/v1/images/generations", body) if event]
    if not events or not events[-1].get("b64_json"):
        raise Failed(f"the stream ends without a picture: {str(events[-1:])[:200]}")


async def watched(client: Client) -> None:
    """A picture whose client polls its previews, as A1111's page does."""
    name = f"soak-{client.chance.random()}"
    body = _body(client, force_task_id=name, steps=30)
    drawing = asyncio.create_task(client.post("/sdapi/v1/txt2img", body))
    try:
        preview = -1
        while not drawing.done():
            told = await client.post("/internal/progress", {"id_task": name, "id_live_preview": preview})
            preview = told["id_live_preview"]
            await client.get(f"/sdapi/v1/progress?id_task={name}")
            await asyncio.sleep(_POLL)
        _checked(await drawing, 1)
    finally:
        drawing.cancel()
        await asyncio.gather(drawing, return_exceptions=True)


async def interrupted(client: Client) -> None:
    """A long picture that is stopped by name; what there is of it is the answer."""
    name = f"soak-{client.chance.random()}"
    drawing = asyncio.create_task(client.post("/sdapi/v1/txt2img", _body(client, force_task_id=name, steps=_LONG)))
    try:
        while not drawing.done():
            await asyncio.sleep(client.chance.uniform(0.1, 0.5))
            await client.post(f"/sdapi/v1/interrupt?id_task={name}", {})
        await drawing
        client.outcomes["answered"] -= 1
        client.outcomes["cancelled"] += 1
    finally:
        drawing.cancel()
        await asyncio.gather(drawing, return_exceptions=True)


async def leave_picture(client: Client) -> None:
    """Hangs up while a picture is drawn."""
    body = _body(client, steps=_LONG)
    drawing = asyncio.create_task(client.post("/sdapi/v1/txt2img", body))
    await asyncio.wait([drawing], timeout=client.chance.uniform(0.05, 1.5))
    if drawing.done():
        await drawing
        return
    drawing.cancel()
    await asyncio.gather(drawing, return_exceptions=True)
    client.outcomes["left"] += 1


async def mistaken_picture(client: Client) -> None:
    """Requests for pictures that must be refused."""
    wrong: list[tuple[str, dict[str, Any], int]] = [
        ("/sdapi/v1/txt2img", {"prompt": "x", "sampler_name": "Nobody's"}, 400),
        ("/sdapi/v1/img2img", {"prompt": "x", "init_images": ["no picture"]}, 400),
        ("/sdapi/v1/txt2img", {"prompt": "x", "steps": 100_000}, 400),
        ("/v1/images/generations", {"model": PICTURES, "prompt": "x", "size": "huge"}, 400),
    ]
    path, body, status = client.chance.choice(wrong)
    await client.post(path, body, status)
