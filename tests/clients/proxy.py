"""nginx in front of a server, with a configuration of its own."""

import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.end_to_end.process import eventually, free_port

STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
_REMEDY = "scripts/setup --dev installs it as root, else apt-get install nginx libnginx-mod-stream"


def blocks(page: Path) -> dict[str, str]:
    """The configurations on a page of the documentation, by the name in their first comment."""
    found = re.findall(r"```nginx\n# (\w+).*?\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return dict(found)


@contextmanager
def nginx(block: str, upstream: int) -> Iterator[int]:
    """Runs nginx with `block`, whose server stands at port 8000 and who listens at 80; its port."""
    binary = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if binary is None or not STREAM_MODULE.exists():
        pytest.fail(f"nginx with its module for streams is missing: {_REMEDY}")
    port = free_port()
    block = block.replace("127.0.0.1:8000", f"127.0.0.1:{upstream}")
    block = re.sub(r"listen \d+( ssl)?;", f"listen 127.0.0.1:{port};", block)
    folder = Path(tempfile.mkdtemp(prefix="velesio-nginx-"))
    (folder / "nginx.conf").write_text(whole(block, folder), encoding="utf-8")
    process = subprocess.Popen([binary, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"])
    try:

        def answers() -> bool:
            assert process.poll() is None, "nginx does not start"
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return True
            return False

        eventually(answers)
        yield port
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder)


def whole(block: str, folder: Path) -> str:
    """A configuration for one process in a folder of its own."""
    lines = ["daemon off;", "worker_processes 1;", f"pid {folder}/pid;", "error_log stderr;", "events {}"]
    if os.getuid() == 0:
        lines.insert(0, "user root;")
    if block.lstrip().startswith("stream"):
        return "\n".join([f"load_module {STREAM_MODULE};", *lines, block])
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = [f"{kind}_temp_path {folder}/{kind};" for kind in kinds]
    return "\n".join([*lines, "http {", "access_log off;", *paths, block, "}"])
