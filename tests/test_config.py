"""Configuration: file, environment, `--set`; every mistake names its place."""

import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from velesio import config
from velesio.backends.base import read_options
from velesio.backends.llama.options import Options
from velesio.config import Config
from velesio.errors import ConfigError

ROOT = Path(__file__).parent.parent


def load(text: str = "", environment: dict[str, str] | None = None, *settings: str, path: Path) -> Config:
    file = path / "config.toml"
    file.write_text(text, encoding="utf-8")
    return config.load(file, environment or {}, settings)


def test_the_shipped_file_holds_every_default() -> None:
    """config.toml at the root is the defaults, and names every option of every section with a comment."""
    assert config.load(ROOT / "config.toml", {}, ()) == Config(
        backends=tomllib.loads((ROOT / "config.toml").read_text())["backends"]
    )
    text = (ROOT / "config.toml").read_text(encoding="utf-8")
    raw = tomllib.loads(text)
    for name, kind in (
        ("server", config.ServerSection),
        ("ports", config.PortsSection),
        ("redis", config.RedisSection),
        ("queue", config.QueueSection),
        ("blobs", config.BlobSection),
        ("worker", config.WorkerSection),
        ("log", config.LogSection),
        ("webhooks", config.WebhookSection),
        ("fetch", config.FetchSection),
        ("sessions", config.SessionSection),
        ("tracing", config.TracingSection),
        ("downloads", config.DownloadSection),
    ):
        assert set(raw[name]) == {field.name for field in msgspec.structs.fields(kind)}
    options = raw["backends"]["llama"]
    assert set(options) == {field.name for field in msgspec.structs.fields(Options)}
    assert read_options(Options, "llama", options) == Options()
    for line in text.splitlines():
        if "=" in line.partition("#")[0]:
            assert "# " in line, f"no comment: {line}"


def test_environment_over_file_and_set_over_both(tmp_path: Path) -> None:
    """The later source is in force."""
    text = '[server]\nport = 1\nhost = "127.0.0.2"\n[log]\nlevel = "debug"\n'
    environment = {"VELESIO_SERVER__PORT": "2", "VELESIO_SERVER__HOST": "127.0.0.3"}
    loaded = load(text, environment, "server.port=3", path=tmp_path)
    assert (loaded.server.port, loaded.server.host, loaded.log.level) == (3, "127.0.0.3", "debug")


@pytest.mark.parametrize(
    ("text", "settings", "said"),
    [
        ("[server]\nprot = 1", (), "server.prot: there is no such option.*did you mean port"),
        ("", ("servr.port=1",), "servr.*did you mean server"),
        ("", ("server.port=many",), "server.port: expected `int`"),
        ("", ("server.port=70000",), "server.port.*65535"),
        ("", ("ports.unity=70000",), "ports.unity.*65535"),
        ("", ("ports.llamacpp=off",), "ports.llamacpp"),
        ("", ("queue.lease=-1",), "queue.lease"),
        ("", ("queue.beat=15",), "queue.beat must be at most half"),
        ("", ("blobs.budget=1000",), "blobs.max_bytes must be at most blobs.budget"),
        ("", ("blobs.store=disk",), "blobs.store"),
        ("", ("server.port",), "write it as section.key=value"),
        ("[server\n", (), "config.toml: "),
        ("[monitoring]\nhosts = 1", (), "monitoring.hosts: there is no such option.*did you mean host"),
        ('[[keys]]\nname = "a"\nlimits = {request = 1}', (), r"keys\[0\].limits.request:.*did you mean requests"),
        ('[limits.models."a"]\nimage = 1', (), r"limits.models\[...\].image:.*did you mean images"),
        ('[[keys]]\nname = "a"', (), r"keys\[0\]: give either token or sha256"),
        (
            '[[keys]]\nname = "a"\ntoken = "${env:NOPE}"',
            (),
            r"keys\[0\].token: the environment has no variable",
        ),
        ('[[keys]]\nname = "a"\ntoken = "${file:/no/such}"', (), r"keys\[0\].token: cannot read"),
        ('[[keys]]\nnane = "a"', (), r"keys\[0\].nane.*did you mean name"),
        ('[[models]]\nname = "a"\n[[models]]\nname = "b"\naliases = ["a"]', (), "'a' is used twice"),
        ("", ("log.level=loud",), "log.level"),
        ("", ('server.hosts=["http://x"]',), "server.hosts: .*is no name"),
        ("", ('webhooks.hosts=["https://x"]',), "webhooks.hosts: .*is no host"),
        ("", ('webhooks.hosts=["x.org"]',), "webhooks.secret is needed"),
        ("", ("webhooks.secret=short",), "webhooks.secret has 5 characters"),
        ("", ('fetch.hosts=["*.*"]',), "fetch.hosts: .*is no host"),
        ("", ('server.trusted_proxies=["10.0.0.1/8"]',), "server.trusted_proxies: .*host bits"),
        ("", ("server.port.x=1",), "server.port: expected `int`"),
    ],
)
def test_a_mistake_names_its_place(text: str, settings: tuple[str, ...], said: str, tmp_path: Path) -> None:
    """Whatever cannot be used is refused with where it stands and what would be right."""
    with pytest.raises(ConfigError, match=said):
        load(text, {}, *settings, path=tmp_path)


def test_a_file_that_was_named_must_exist(tmp_path: Path) -> None:
    """`--config` with a wrong path is an error; no config.toml at all is not."""
    with pytest.raises(ConfigError, match="No such file"):
        config.load(tmp_path / "none.toml", {}, ())


def test_names_of_the_earlier_server_are_honoured(tmp_path: Path) -> None:
    """API_TOKENS, REDIS_HOST, REDIS_PASS and GPU_LAYERS mean what they meant."""
    environment = {"API_TOKENS": "one, two,", "REDIS_HOST": "db", "REDIS_PASS": "s", "GPU_LAYERS": "35"}
    loaded = load("", environment, path=tmp_path)
    assert [key.token for key in loaded.keys] == ["one", "two"]
    assert (loaded.redis.url, loaded.redis.password) == ("redis://db:6379", "s")
    assert loaded.backends["llama"]["gpu_layers"] == "35"
    assert load("", {**environment, "REDIS_URL": "redis://x/1"}, path=tmp_path).redis.url == "redis://x/1"


def test_secrets_come_from_files_and_environment(tmp_path: Path) -> None:
    """`${file:…}` and `${env:…}` are replaced wherever they stand."""
    (tmp_path / "secret").write_text("hush\n", encoding="utf-8")
    text = f'[redis]\npassword = "${{file:{tmp_path}/secret}}"\nurl = "redis://${{env:BROKER}}:6379"'
    loaded = load(text, {"BROKER": "b"}, path=tmp_path)
    assert (loaded.redis.password, loaded.redis.url) == ("hush", "redis://b:6379")


def test_a_models_own_options_are_the_backends(tmp_path: Path) -> None:
    """Keys of `[[models]]` that Velesio does not know go to the backend, which knows them."""
    loaded = load('[[models]]\nname = "a"\npath = "x.gguf"\ncontext = 99', path=tmp_path)
    assert loaded.models[0].options == {"context": 99}
    assert loaded.models[0].path == Path("x.gguf")


def test_lists_and_tables_can_be_set(tmp_path: Path) -> None:
    """A value that looks like TOML is read as TOML."""
    loaded = load("", {}, 'worker.models=["a", "b*"]', "queue.weights={x = 2.0}", path=tmp_path)
    assert loaded.worker.models == ("a", "b*")
    assert loaded.queue.weights == {"x": 2.0}


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("ports.unity=8000", "ports.unity and server.port are both 8000"),
        ("ports={llamacpp = 1337, ollama = 1337}", "are both 1337"),
        (
            'server.cors_origins=["game.example"]',
            "server.cors_origins: 'game.example' is no origin; write it like \"http",
        ),
        ('ports.llamacpp_origins=["http://a/path"]', "ports.llamacpp_origins: 'http://a/path' is no origin"),
    ],
)
def test_ports_and_origins_are_checked(setting: str, said: str, tmp_path: Path) -> None:
    """Two ports that are one, and origins that no browser sends, are errors with the remedy."""
    with pytest.raises(ConfigError, match=re.escape(said)):
        load("", {}, setting, path=tmp_path)


def test_origins_may_be_words(tmp_path: Path) -> None:
    """`*` for all, `localhost` for pages of this machine, or origins."""
    origins = ["*", "localhost", "https://game.example:8443", "http://[::1]:3000/"]
    assert load("", {}, f"server.cors_origins={origins}", path=tmp_path).server.cors_origins == tuple(origins)


@pytest.mark.parametrize(
    ("entry", "fits"),
    [
        *((entry, True) for entry in ("example.org", "*.example.org", "*", "localhost:9000", "[::1]:*", "A.org:8443")),
        *((entry, False) for entry in ("https://example.org", "example.org/x", "", "exa mple.org", "*.*", "a:b")),
    ],
)
def test_lists_of_hosts_have_what_could_match(entry: str, fits: bool, tmp_path: Path) -> None:
    """Anything else is refused, since it would silently allow nothing."""
    if fits:
        assert load("", {}, f'fetch.hosts=["{entry}"]', path=tmp_path).fetch.hosts == (entry,)
        return
    with pytest.raises(ConfigError, match="is no host"):
        load("", {}, f'fetch.hosts=["{entry}"]', path=tmp_path)
