"""Which web pages may read what is answered."""

import pytest

from tests.http.conftest import Answer, Site, StartSite
from velesio.config import KeySection, ServerSection
from velesio.http.access.cors import allows

PAGE = "https://game.example:8443"


@pytest.mark.parametrize(
    ("origins", "origin", "allowed"),
    [
        ((), PAGE, False),
        ((PAGE,), PAGE, True),
        ((PAGE + "/",), PAGE.upper(), True),
        ((PAGE,), "https://game.example", False),
        ((PAGE,), "http://game.example:8443", False),
        ((PAGE,), "https://evil-game.example:8443", False),
        (("*",), PAGE, True),
        (("*",), "null", True),
        (("*",), "", False),
        (("localhost",), "http://localhost:5173", True),
        (("localhost",), "https://127.0.0.1", True),
        (("localhost",), "http://[::1]:8080", True),
        (("localhost",), "http://localhost.evil.example", False),
        (("localhost",), "http://evil.example/localhost", False),
        (("localhost",), "http://[::1", False),
        (("localhost",), "null", False),
    ],
)
def test_allows(origins: tuple[str, ...], origin: str, allowed: bool) -> None:
    """An origin is allowed by itself, whatever its case, by `*`, or as a page of this machine."""
    assert allows(origins, origin) is allowed


def cors(answer: Answer) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("Access-Control-")}


async def test_no_page_may_read_by_default(site: Site) -> None:
    """Neither a preflight nor an answer has a header for it."""
    for method in ("OPTIONS", "GET"):
        answer = await site.ask(method, "/v1/models", Origin=PAGE)
        assert (answer.status, cors(answer)) == (200, {})
        assert "Vary" not in answer.headers


async def test_a_configured_page_may_read(start_site: StartSite) -> None:
    """The preflight is answered without a key, for the headers that the browser asks for; so is what follows, and
    refusals and streams too."""
    site = await start_site(server=ServerSection(cors_origins=(PAGE,)), keys=[KeySection(name="k", token="s")])
    answer = await site.ask("OPTIONS", "/anything", Origin=PAGE, Access_Control_Request_Headers="authorization, x-a")
    assert (answer.status, answer.body, answer.headers["Content-Type"]) == (200, b"", "text/html")
    assert cors(answer) == {
        "Access-Control-Allow-Origin": PAGE,
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Allow-Methods": "GET, POST, DELETE, OPTIONS",
        "Access-Control-Allow-Headers": "authorization, x-a",
    }
    assert answer.headers["Vary"] == "Origin"
    key = {"Authorization": "Bearer s", "Origin": PAGE}
    stream = {"prompt": "a b", "stream": True}
    for answer, status in (
        (await site.get("/v1/models", **key), 200),
        (await site.get("/v1/models", Origin=PAGE), 401),
        (await site.post("/completion", b"{", **key), 400),
        (await site.get("/nothing", **key), 404),
        (await site.post("/completion", stream, **key), 200),
    ):
        assert answer.status == status
        assert answer.headers["Access-Control-Allow-Origin"] == PAGE
        assert "X-Request-ID" in answer.headers["Access-Control-Expose-Headers"]


async def test_a_page_may_read_the_limits_and_administer(start_site: StartSite) -> None:
    """What the answer says of limits is shown by name; keys are changed with methods that forms do not have."""
    site = await start_site(server=ServerSection(cors_origins=(PAGE,)), keys=[KeySection(name="k", token="s")])
    answer = await site.post("/completion", {"prompt": "a"}, Authorization="Bearer s", Origin=PAGE)
    exposed = answer.headers["Access-Control-Expose-Headers"].split(", ")
    assert {name for name in answer.headers if name.startswith(("RateLimit", "X-RateLimit"))} <= {*exposed}
    assert "RateLimit-Policy" in exposed
    preflight = await site.ask("OPTIONS", "/admin/keys/x", Origin=PAGE)
    assert "PATCH" in preflight.headers["Access-Control-Allow-Methods"]


async def test_others_may_not(start_site: StartSite) -> None:
    """But caches are told that the answer depends on who asks."""
    site = await start_site(server=ServerSection(cors_origins=(PAGE,)))
    for origin in ("https://evil.example", ""):
        answer = await site.get("/v1/models", **({"Origin": origin} if origin else {}))
        assert (cors(answer), answer.headers["Vary"]) == ({}, "Origin")


async def test_the_port_for_llamacpp_has_origins_of_its_own(start_site: StartSite) -> None:
    """By default all, as llama-server has it; configured, those."""
    site = await start_site()
    answer = await site.ask("OPTIONS", "/completion", at=site.llamacpp, Origin=PAGE)
    assert cors(answer)["Access-Control-Allow-Origin"] == PAGE
    assert cors(answer)["Access-Control-Allow-Headers"] == "*"


async def test_the_port_for_llamacpp_can_be_narrowed(start_site: StartSite) -> None:
    """`localhost` lets pages of this machine in, and no others."""
    site = await start_site(llamacpp_origins=("localhost",))
    for origin, allowed in ((PAGE, False), ("http://localhost:3000", True)):
        answer = await site.ask("GET", "/v1/models", at=site.llamacpp, Origin=origin)
        assert ("Access-Control-Allow-Origin" in answer.headers) is allowed
