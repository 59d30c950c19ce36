"""nginx with the configuration that ships."""

import contextlib
import http.client
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.clients.proxy import whole
from tests.end_to_end.process import eventually, free_port

CONFIGURATION = Path(__file__).parents[2] / "deploy/nginx/velesio.conf"


class Proxy:
    """nginx with the configuration that ships, on free ports and with a certificate of its own."""

    def __init__(self, folder: Path, upstreams: Sequence[int]) -> None:
        self.port = free_port()
        self._plain = free_port()
        self._make_certificate(folder)
        self._trust = ssl.create_default_context(cafile=str(folder / "certificate.pem"))
        text = CONFIGURATION.read_text(encoding="utf-8")
        for old, new in {
            "    server 127.0.0.1:8000 max_fails=0;\n": "".join(
                f"    server 127.0.0.1:{port} max_fails=0;\n" for port in upstreams
            ),
            "listen 443 ssl http2": f"listen 127.0.0.1:{self.port} ssl http2",
            "listen 80": f"listen 127.0.0.1:{self._plain}",
            "/etc/nginx/tls/fullchain.pem": f"{folder}/certificate.pem",
            "/etc/nginx/tls/privkey.pem": f"{folder}/key.pem",
            "ai.example.com": "localhost",
        }.items():
            assert old in text
            text = text.replace(old, new)
        configuration = folder / "nginx.conf"
        configuration.write_text(whole(text, folder), encoding="utf-8")
        program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
        assert program, "nginx is missing: scripts/setup --dev installs it as root, else apt-get install nginx"
        self.process = subprocess.Popen([program, "-p", str(folder), "-c", str(configuration), "-e", "stderr"])
        eventually(self._answers)

    @staticmethod
    def _make_certificate(folder: Path) -> None:
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
                *("-addext", "subjectAltName=DNS:localhost"),
                *("-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")),
            ],
            check=True,
            capture_output=True,
        )

    def _answers(self) -> bool:
        assert self.process.poll() is None, "nginx does not start"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def redirect(self) -> str:
        """Where a request without TLS is sent."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self._plain, timeout=10)) as connection:
            connection.request("GET", "/v1/models", headers={"Host": "localhost"})
            answer = connection.getresponse()
            assert answer.status == 301
            return answer.getheader("Location", "")

    def connect(self) -> http.client.HTTPSConnection:
        """A client that trusts its certificate."""
        return http.client.HTTPSConnection("localhost", self.port, timeout=60, context=self._trust)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)
