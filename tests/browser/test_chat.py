"""The playground's texts: chat, completion, embeddings."""

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.browser.site import ECHO, TEXT
from tests.end_to_end.process import Server, eventually

if TYPE_CHECKING:
    from playwright.sync_api import Page


def ask(page: "Page", words: str, model: str = TEXT, limit: int = 32) -> None:
    """Sends a message to a model."""
    page.goto("/")
    page.get_by_label("Model", exact=True).select_option(model)
    page.locator("#chat-max_tokens").fill(str(limit))
    page.get_by_label("Your message").fill(words)
    page.keyboard.press("Enter")


def test_an_answer_streams_in(page: "Page") -> None:
    """Of a real model, with how long the first token took and how fast the others came."""
    ask(page, "What is the capital of France?")
    answer = page.get_by_role("article", name="Answer")
    stats = answer.locator(".stats")
    stats.wait_for()
    assert len(answer.locator(".text").inner_text()) > 3
    assert "first token after" in stats.inner_text()
    assert "tokens/s" in stats.inner_text()


def test_an_answer_is_stopped_in_the_middle(page: "Page", watch: list[str]) -> None:
    """The server is told, what came is kept, and it can go on from there."""
    ask(page, "[[sleep 0.05]][[tokens 2000]]one two three", ECHO, 2000)
    answer = page.get_by_role("article", name="Answer")
    answer.get_by_text("one two three").first.wait_for()
    page.get_by_role("button", name="Stop").click()
    answer.get_by_role("button", name="Continue").wait_for()
    page.get_by_role("button", name="Send", exact=True).wait_for()
    length = len(answer.locator(".text").inner_text())
    assert 5 < length < 4000
    page.goto("/dashboard")
    page.get_by_role("row").filter(has_text=ECHO).filter(has_text="cancelled").first.wait_for()


def test_an_answer_is_made_again_and_a_message_changed(page: "Page") -> None:
    """What followed is gone; the conversation is still there after a visit elsewhere, and another can be begun."""
    ask(page, "first words", ECHO)
    page.locator(".stats").wait_for()
    page.get_by_role("button", name="Regenerate").click()
    page.locator(".stats").wait_for()
    assert page.get_by_role("article").count() == 2
    page.get_by_role("button", name="Edit").click()
    page.get_by_label("Edit your message").fill("other words")
    page.get_by_role("button", name="Send again").click()
    page.get_by_role("article", name="Answer").get_by_text("other words").wait_for()
    page.locator(".stats").wait_for()
    page.goto("/models")
    page.goto("/")
    page.get_by_role("article", name="You").get_by_text("other words").wait_for()
    page.get_by_role("button", name="New conversation").click()
    assert page.get_by_role("article").count() == 0
    page.get_by_label("Conversation", exact=True).first.select_option(label="other words")
    assert page.get_by_role("article").count() == 2


def test_the_system_prompt_and_parameters_are_sent(page: "Page") -> None:
    """And stand in the code of all three languages, as they are."""
    page.goto("/")
    page.get_by_label("Model", exact=True).select_option(ECHO)
    page.get_by_label("System prompt").fill('It\'s "you" who answers')
    page.locator("#chat-temperature").fill("0.25")
    page.get_by_label("Your message").fill("hello there")
    with page.expect_request("**/v1/chat/completions") as sent:
        page.keyboard.press("Enter")
    body = sent.value.post_data_json
    assert body["messages"][0] == {"role": "system", "content": 'It\'s "you" who answers'}
    assert (body["temperature"], body["model"]) == (0.25, ECHO)
    place = page.locator("#chat-code")
    place.get_by_text("The same from your program").click()
    code = place.get_by_label("The request as code")
    for language, part in (("curl", "It'\\''s"), ("Python", "temperature=0.25"), ("JavaScript", '"temperature": 0.25')):
        place.get_by_role("button", name=language, exact=True).click()
        assert part in code.inner_text()


def test_tokens_tell_what_else_could_have_come(page: "Page") -> None:
    """By pointer and by keys."""
    page.goto("/#completion")
    page.get_by_label("Model", exact=True).select_option(TEXT)
    page.locator("#completion-n_predict").fill("8")
    page.get_by_role("button", name="Continue the text").click()
    page.get_by_text("tokens/s").wait_for()
    page.locator("#tokens .t").nth(2).hover()
    page.locator("#token .odds .bar").nth(7).wait_for()
    before = page.locator("#token strong").inner_text()
    page.locator("#tokens").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#tokens .on").get_attribute("data-at") == "3"
    assert "%" in before


def test_texts_are_compared(page: "Page") -> None:
    """Each with each, itself being the same."""
    page.goto("/#embeddings")
    page.get_by_label("Model", exact=True).select_option(TEXT)
    page.get_by_label("Texts, one in each line").fill("a cat\na kitten\nthe stock market")
    page.get_by_role("button", name="Compare").click()
    cells = page.locator(".likeness tbody td")
    cells.first.wait_for()
    values = [float(text) for text in cells.all_inner_texts()]
    assert (len(values), values[0], values[4], values[8]) == (9, 1.0, 1.0, 1.0)
    assert values[1] == values[3]


def test_code_from_the_page_runs(page: "Page", tmp_path: Path) -> None:
    """What is copied is a whole command or program, whatever stands in the prompt."""
    page.goto("/#completion")
    page.get_by_label("Model", exact=True).select_option(ECHO)
    page.get_by_label("Prompt", exact=True).first.fill('it\'s a "test" of $HOME `x`')
    place = page.locator("#completion-code")
    place.get_by_text("The same from your program").click()
    (tmp_path / "package.json").write_text('{"type": "module"}')
    for language, program, name in (
        ("curl", "/bin/sh", "a.sh"),
        ("Python", sys.executable, "a.py"),
        ("JavaScript", "node", "a.js"),
    ):
        place.get_by_role("button", name=language, exact=True).click()
        (tmp_path / name).write_text(place.get_by_label("The request as code").inner_text())
        done = subprocess.run([program, tmp_path / name], capture_output=True, text=True, timeout=20, check=True)
        assert "$HOME" in done.stdout, language
        assert "`x`" in done.stdout, language


def test_the_server_remembers_a_conversation_where_that_is_wanted(page: "Page", server: Server) -> None:
    """Then only what is new is sent; a changed message makes it begin anew, deleting the conversation forgets it."""
    page.goto("/")
    page.get_by_label("Remember it on the server").check()
    ask_again(page, "first words")
    body = ask_again(page, "second words")
    assert [message["content"] for message in body["messages"]] == ["second words"]
    name = body["session_id"]
    assert json.loads(server.get(f"/v1/sessions/{name}")[1])["turns"] == 2
    page.get_by_role("button", name="Edit").first.click()
    page.get_by_label("Edit your message").fill("other words")
    page.get_by_role("button", name="Send again").click()
    page.locator(".stats").wait_for()
    told = json.loads(server.get(f"/v1/sessions/{name}")[1])
    assert [message["content"] for message in told["messages"] if message["role"] == "user"] == ["other words"]
    page.get_by_role("button", name="Delete this conversation").click()
    eventually(lambda: server.get(f"/v1/sessions/{name}")[0] == 404)


def ask_again(page: "Page", words: str) -> Any:
    """Sends a message in the conversation that is open; the body of the request, when the answer is there."""
    before = page.locator(".stats").count()
    page.get_by_label("Model", exact=True).select_option(ECHO)
    page.get_by_label("Your message").fill(words)
    with page.expect_request("**/v1/chat/completions") as sent:
        page.keyboard.press("Enter")
    page.locator(".stats").nth(before).wait_for()
    return sent.value.post_data_json
