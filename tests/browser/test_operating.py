"""What operators do: jobs, models, workers, and what becomes of the pages when the server restarts."""

import json
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.browser.conftest import visiting
from tests.browser.site import ECHO, TEXT, toml
from tests.end_to_end.process import Server, eventually

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


def background(server: Server, prompt: str, model: str = ECHO) -> str:
    """Queues a job; its id."""
    status, job = server.post("/v1/jobs", {"url": "/completion", "body": {"model": model, "prompt": prompt}})
    assert status == 202, job
    return str(job["id"])


def state_of(server: Server, job: str) -> Any:

    return json.loads(server.get(f"/v1/jobs/{job}")[1])["state"]


def test_a_failed_job_is_queued_again(page: "Page", server: Server) -> None:
    """From the list, which tells the reason; its page has the timeline with both tries."""
    job = background(server, "[[fail the cat sat on it]]a")
    eventually(lambda: state_of(server, job) == "failed")
    page.goto("/dashboard")
    page.get_by_role("button", name="Failed", exact=True).click()
    row = page.get_by_role("row").filter(has=page.get_by_title(job))
    row.get_by_text("the cat sat on it").wait_for()
    row.get_by_role("button", name="Requeue").click()
    page.get_by_text("Queued again", exact=True).wait_for()
    eventually(lambda: state_of(server, job) == "failed")
    page.goto(f"/jobs/{job}")
    timeline = page.locator("#timeline")
    timeline.get_by_text("Queued again by somebody").wait_for()
    assert timeline.get_by_text("Taken by a worker").count() == 2
    page.locator("#failure").get_by_text("the cat sat on it").wait_for()


def test_a_running_job_is_cancelled(page: "Page", server: Server) -> None:
    """From its own page, while it runs."""
    job = background(server, "[[sleep 0.05]][[tokens 3000]]a")
    page.goto(f"/jobs/{job}")
    page.get_by_role("button", name="Cancel").click()
    page.locator("#timeline").get_by_text("Cancelled", exact=True).wait_for()
    assert state_of(server, job) == "cancelled"


def test_a_model_is_unloaded_and_loaded(page: "Page") -> None:
    """And its state follows."""
    page.goto("/models")
    row = page.get_by_role("row").filter(has_text=TEXT)
    row.get_by_text("loaded", exact=True).wait_for()
    row.get_by_role("button", name="Unload").click()
    row.get_by_text("unloaded", exact=True).wait_for()
    row.get_by_role("button", name="Load", exact=False).click()
    row.get_by_text("loaded", exact=True).wait_for()


def test_a_queue_is_paused_and_goes_on(page: "Page", server: Server) -> None:
    """What comes meanwhile waits."""
    page.goto("/dashboard")
    row = page.locator("#queues").get_by_role("row").filter(has_text=ECHO)
    row.get_by_role("button", name="Pause").click()
    row.get_by_text("paused").wait_for()
    job = background(server, "one")
    assert state_of(server, job) == "queued"
    row.get_by_role("button", name="Go on").click()
    eventually(lambda: state_of(server, job) == "done")


def test_a_worker_is_made_quiet_and_drained(page: "Page", server: Server) -> None:
    """It leaves by itself, with status 0, and is gone from the list."""
    with tempfile.TemporaryDirectory() as folder:
        socket = next(server.folder.rglob("*.sock"))
        models = toml([{"name": "second", "backend": "echo"}])
        worker = Server("worker", Path(folder), f"redis.url=unix://{socket}", f"models={models}", 'worker.id="helper"')
        try:
            worker.ready()
            page.goto("/dashboard")
            row = page.locator("#workers").get_by_role("row").filter(has_text="helper")
            row.get_by_role("button", name="Quiet").click()
            row.get_by_text("quiet", exact=True).wait_for()
            row.get_by_role("button", name="Resume").click()
            row.get_by_text("ready", exact=True).wait_for()
            row.get_by_role("button", name="Drain").click()
            page.get_by_role("button", name="Drain it").click()
            row.wait_for(state="detached")
            assert worker.process.wait(20) == 0
        finally:
            worker.close()


def test_charts_and_numbers_follow_what_happens(page: "Page", server: Server) -> None:
    """Without a reload."""
    page.goto("/dashboard")
    page.get_by_text("Live, as of").wait_for()
    completed = page.locator(".tile").filter(has_text="Completed").locator("dd")
    before = int(completed.inner_text().split()[0].replace(",", ""))
    for _ in range(3):
        server.post("/completion", {"model": ECHO, "prompt": "one two three"})
    chart = page.get_by_role("img", name="Tokens per second over the last hour")
    chart.wait_for()
    eventually(lambda: int(completed.inner_text().split()[0].replace(",", "")) >= before + 3)
    chart.focus()
    page.keyboard.press("End")
    page.locator(".readout").get_by_text("now").or_(page.locator(".readout[role=status]")).first.wait_for()


def test_a_restart_is_survived(browser: "Browser", tmp_path: Path) -> None:
    """The page says that the server is gone, and goes on by itself when it is back: nothing is reloaded, what was
    typed is still there, and the next message is answered."""
    settings = [f"models={toml([{'name': ECHO, 'backend': 'echo'}])}"]
    first = Server("all", tmp_path, *settings).ready()
    try:
        with visiting(browser, first.url) as (page, seen):
            seen.expected = ["ERR_", "Failed to load resource"]
            page.goto("/")
            page.get_by_label("Your message").fill("still here")
            board = page.context.new_page()
            board.goto("/dashboard")
            board.get_by_text("Live, as of").wait_for()
            first.close()
            board.get_by_text("does not answer").first.wait_for()
            page.bring_to_front()
            second = Server("all", tmp_path, *settings, f"server.port={first.port}")
            second.port = first.port
            try:
                second.ready()
                page.get_by_label("Your message").press("Enter")
                page.locator(".stats").wait_for()
                page.get_by_role("article", name="Answer").get_by_text("still here").wait_for()
                board.bring_to_front()
                board.get_by_text("Live, as of").wait_for()
                until = time.monotonic() + 15
                while board.locator("#banner:not([hidden])").count() and time.monotonic() < until:
                    board.wait_for_timeout(100)
                assert not board.locator("#banner:not([hidden])").count()
            finally:
                second.close()
    finally:
        first.close()


def test_a_model_is_fetched_while_one_watches(page: "Page", server: Server) -> None:
    """From an address, into the folder that its name suggests; what cannot be had says why."""
    files = ThreadingHTTPServer(("127.0.0.1", 0), Files)
    threading.Thread(target=files.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{files.server_port}"
    try:
        page.goto("/models")
        page.get_by_label("Address").fill(f"{address}/tiny.gguf")
        page.get_by_role("button", name="Fetch", exact=True).click()
        item = page.get_by_role("listitem").filter(has_text="tiny.gguf")
        item.get_by_text("done").wait_for()
        assert (server.folder / "models" / "text" / "tiny.gguf").read_bytes() == Files.content
        page.get_by_label("Address").fill(f"{address}/gone.gguf")
        page.get_by_role("button", name="Fetch", exact=True).click()
        page.get_by_role("listitem").filter(has_text="gone.gguf").get_by_text("failed").wait_for()
    finally:
        files.shutdown()
        files.server_close()


class Files(BaseHTTPRequestHandler):
    """One file, and nothing else."""

    content = b"weights" * 1000

    def do_GET(self) -> None:
        """The file."""
        found = self.path == "/tiny.gguf"
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(self.content) if found else 0))
        self.end_headers()
        self.wfile.write(self.content if found else b"")

    def log_message(self, *_: object) -> None:
        """Nothing."""
