"""The playground's pictures: drawn while one watches, stopped, drawn anew in a part."""

import base64
import io
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Page


def draw(page: "Page", steps: int) -> None:
    """Asks for a picture."""
    page.goto("/#images")
    page.get_by_role("combobox", name="Sampler").get_by_role("option", name="Euler", exact=True).wait_for(
        state="attached"
    )
    page.locator("#image-steps").fill(str(steps))
    page.locator("#image-seed").fill("7")
    page.get_by_role("button", name="Draw", exact=True).click()


def picture_of(address: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))).convert("RGB")


def test_a_picture_comes_out_of_the_noise(page: "Page") -> None:
    """With previews on the way, and afterwards with how it was made."""
    draw(page, 100)
    preview = page.get_by_alt_text("What the picture looks like so far")
    preview.wait_for()
    assert picture_of(preview.get_attribute("src") or "").size[0] > 0
    page.locator("#gallery img").wait_for()
    told = page.get_by_label("How it was made", exact=True).inner_text()
    assert "Seed: 7" in told
    assert "Steps: 100" in told


def test_a_picture_is_stopped(page: "Page") -> None:
    """And what there is of it stays, or the page says that there is nothing."""
    draw(page, 100)
    page.get_by_role("progressbar").wait_for()
    page.get_by_role("button", name="Stop", exact=True).click()
    page.get_by_role("button", name="Draw", exact=True).wait_for()


def test_the_painted_part_alone_is_drawn_anew(page: "Page") -> None:
    """The mask that is sent is white where was painted and black elsewhere, and so the rest stays."""
    draw(page, 6)
    page.locator("#gallery img").wait_for()
    before = picture_of(page.locator("#gallery img").first.get_attribute("src") or "")
    page.get_by_role("button", name="Paint a mask").first.click()
    canvas = page.get_by_role("application")
    box = canvas.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.05, box["y"] + box["height"] * 0.1)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.1, steps=5)
    page.mouse.up()
    page.get_by_text("Only the painted part changes").wait_for()
    with page.expect_request("**/sdapi/v1/img2img") as sent:
        page.get_by_role("button", name="Draw it anew").click()
    mask = picture_of("," + sent.value.post_data_json["mask"]).convert("L")
    assert mask.size == before.size
    assert mask.getpixel((mask.width // 6, mask.height // 10)) == 255
    assert mask.getpixel((mask.width // 2, mask.height // 2)) == 0
    page.locator("#gallery img").nth(1).wait_for()
    after = picture_of(page.locator("#gallery img").first.get_attribute("src") or "")
    corner = (before.width * 3 // 4, before.height * 3 // 4, before.width, before.height)
    differs = max(abs(a - b) for a, b in zip(before.crop(corner).tobytes(), after.crop(corner).tobytes(), strict=True))
    assert differs <= 2


def test_a_mask_can_be_painted_by_keys(page: "Page") -> None:
    """Arrows move the brush, space paints, Z takes it back."""
    draw(page, 2)
    page.locator("#gallery img").wait_for()
    page.get_by_role("button", name="Paint a mask").first.click()
    page.get_by_role("application").focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Space")
    page.get_by_text("Only the painted part changes").wait_for()
    page.keyboard.press("z")
    page.locator(".source").get_by_text("Paint over what shall change").wait_for()
