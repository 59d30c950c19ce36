"""The pictures of docs/images: each page, light and dark, on a desktop and on a phone.

`scripts/test-browser --pictures` makes all of them; names after that choose pages: `--pictures dashboard chat`.
"""

import io
import secrets
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image
from playwright.sync_api import sync_playwright

from tests.browser.conftest import CHROMIUM
from tests.browser.site import ECHO, TEXT, start_server, toml
from tests.browser.test_operating import background
from tests.end_to_end.process import Server, own_folder, running

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FOLDER = Path(__file__).parent.parent.parent / "docs" / "images"
MOST_BYTES = 150_000
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}

OPERATOR = secrets.token_urlsafe(24)
"""The key with which the pictures of a server that asks for keys are taken; it is in none of them."""
KEYS = (
    {"name": "office", "tenant": "office", "scopes": ["text", "images", "admin"]},
    {"name": "orchard-game", "tenant": "studio", "scopes": ["text"], "models": ["smol*"], "limits": {"requests": 600}},
    {"name": "postcards", "tenant": "studio", "scopes": ["images"], "expires": "2030-01-31T00:00:00Z"},
    {"name": "ada-notebook", "tenant": "research", "models": [ECHO, "smol*"]},
    {"name": "old-crawler", "tenant": "research", "scopes": ["text"]},
)
"""Whoever these would be for does not exist."""


def put(page: "Page", field: str, value: str) -> None:
    """Fills a field, also where it is folded away."""
    page.locator(field).evaluate(
        "(field, value) => { field.value = value; field.dispatchEvent(new Event('input')); }", value
    )


def chat(page: "Page", _: Server) -> None:
    """A conversation with an answer."""
    page.get_by_label("Model", exact=True).select_option(TEXT)
    put(page, "#chat-temperature", "0")
    page.get_by_label("Your message").fill("What is the capital of France, and what is it known for?")
    page.keyboard.press("Enter")
    page.locator(".stats").wait_for()
    page.get_by_label("Your message").blur()


def completion(page: "Page", _: Server) -> None:
    """A text, and what else could have come in one place."""
    page.get_by_label("Model", exact=True).select_option(TEXT)
    put(page, "#completion-n_predict", "32")
    put(page, "#completion-seed", "3")
    page.get_by_role("button", name="Continue the text").click()
    page.locator("#completion-rate").get_by_text("tokens/s").wait_for()
    page.locator("#tokens .t").nth(6).click()
    page.mouse.move(0, 0)


def images(page: "Page", _: Server) -> None:
    """Some pictures."""
    page.get_by_role("option", name="Euler", exact=True).wait_for(state="attached")
    for seed, words in ((3, "a yellow star on a blue background"), (5, "a green tree"), (7, "a big red heart")):
        page.locator("#image-prompt").fill(words)
        put(page, "#image-seed", str(seed))
        page.get_by_role("button", name="Draw", exact=True).click()
        page.get_by_role("button", name="Draw", exact=True).wait_for()
    page.locator("#gallery img").nth(2).wait_for()


def inpainting(page: "Page", server: Server) -> None:
    """A mask that is being painted."""
    images(page, server)
    page.get_by_role("button", name="Paint a mask").first.click()
    box = page.get_by_role("application").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] * 0.25)
    page.mouse.down()
    for x, y in ((0.35, 0.2), (0.5, 0.3), (0.62, 0.24)):
        page.mouse.move(box["x"] + box["width"] * x, box["y"] + box["height"] * y, steps=4)
    page.mouse.up()


def embeddings(page: "Page", _: Server) -> None:
    """Texts, compared."""
    page.get_by_label("Model", exact=True).select_option(TEXT)
    page.get_by_role("button", name="Compare").click()
    page.locator(".likeness td").first.wait_for()


def dashboard(page: "Page", server: Server) -> None:
    """With something going on."""
    page.get_by_text("Live, as of").wait_for()
    background(server, "[[sleep 0.5]][[tokens 60]]one two", ECHO)
    page.wait_for_timeout(1500)


def job(page: "Page", server: Server) -> None:
    """One that failed."""
    name = background(server, "[[sleep 0.2]][[after 3 retry the disk is full]]one two three four five")
    page.wait_for_timeout(6000)
    page.goto(f"/jobs/{name}")
    page.locator("#timeline li").nth(3).wait_for()


def keys(page: "Page", _: Server) -> None:
    """Several, one of them revoked."""
    page.get_by_label("API key").fill(OPERATOR)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("row").filter(has_text=str(KEYS[-1]["name"])).get_by_text("revoked").wait_for()


def nothing(page: "Page", _: Server) -> None:
    """The page as it opens."""
    page.wait_for_timeout(400)


class Shot(NamedTuple):
    """Where a picture is taken, and what is done there before."""

    path: str
    act: Callable[["Page", Server], None] = nothing
    locked: bool = False
    """At the server that asks for keys."""


SHOTS = {
    "chat": Shot("/", chat),
    "completion": Shot("/#completion", completion),
    "images": Shot("/#images", images),
    "inpainting": Shot("/#images", inpainting),
    "embeddings": Shot("/#embeddings", embeddings),
    "dashboard": Shot("/dashboard", dashboard),
    "models": Shot("/models"),
    "keys": Shot("/keys", keys, locked=True),
    "usage": Shot("/usage"),
    "job": Shot("/dashboard", job),
    "sign-in": Shot("/sign-in"),
}


def busy(server: Server) -> None:
    """Work for the charts."""
    for number in range(12):
        server.post("/completion", {"model": TEXT, "prompt": "Once upon a time", "n_predict": 8 + number * 2})
        if number % 3 == 0:
            server.post("/v1/images/generations", {"prompt": "a red boat", "steps": 4})
            background(server, f"[[fail there is no room for {number} more]]a")


def saved(shot: bytes, path: Path) -> None:
    """As few colours as a page needs, so that the file stays small."""
    picture = Image.open(io.BytesIO(shot)).convert("RGB")
    for colours in (256, 128, 64):
        picture.quantize(colours, Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE).save(
            path, optimize=True
        )
        if path.stat().st_size < MOST_BYTES:
            return
    sys.exit(f"{path} has {path.stat().st_size} bytes")


def start_locked(folder: Path) -> Server:
    """A server that asks for keys; it has no models to wait for."""
    operator = {"name": "operator", "token": OPERATOR, "scopes": ["text", "images", "admin"]}
    models = toml([{"name": ECHO, "backend": "echo"}])
    return Server("all", folder, f"models={models}", f"keys={toml([operator])}")


def hand_out(server: Server) -> None:
    """Makes `KEYS`, and revokes the last of them."""
    shown = {"Authorization": f"Bearer {OPERATOR}"}
    for key in KEYS:
        status, told = server.post("/admin/keys", key, shown)
        assert status == 201, told
    connection = server.connect()
    connection.request("DELETE", f"/admin/keys/{told['id']}", headers=shown)
    assert connection.getresponse().status == 200
    connection.close()


def take(browser: "Browser", server: Server, name: str, scheme: str, kind: str) -> None:
    """Takes one picture."""
    shot, (width, height) = SHOTS[name], SIZES[kind]
    context = browser.new_context(base_url=server.url, viewport={"width": width, "height": height}, color_scheme=scheme)
    page = context.new_page()
    page.goto(shot.path)
    if not shot.locked:
        page.get_by_text("Ready", exact=True).wait_for()
    shot.act(page, server)
    page.get_by_text("Ready", exact=True).wait_for()
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(250)
    saved(page.screenshot(), FOLDER / f"{name}-{scheme}-{kind}.png")
    context.close()
    print(name, scheme, kind, time.strftime("%X"), flush=True)


def main(names: list[str]) -> None:
    """Takes the pictures."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    wanted = names or list(SHOTS)
    with ExitStack() as stack:
        servers = {}
        if not all(SHOTS[name].locked for name in wanted):
            servers[False] = stack.enter_context(running(start_server(stack.enter_context(own_folder()))))
            busy(servers[False])
        if any(SHOTS[name].locked for name in wanted):
            servers[True] = stack.enter_context(running(start_locked(stack.enter_context(own_folder()))))
            hand_out(servers[True])
        driver = stack.enter_context(sync_playwright())
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            for kind in SIZES:
                for name in wanted:
                    take(browser, servers[SHOTS[name].locked], name, scheme, kind)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
