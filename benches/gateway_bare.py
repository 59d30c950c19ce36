"""A bare aiohttp server that answers what it is told to answer: what the gateway's cost is measured from."""

import argparse
import base64

from aiohttp import web


def main() -> None:
    """Serves the two answers that are given on the command line, in base64, until it is killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("models", type=base64.b64decode)
    parser.add_argument("completion", type=base64.b64decode)
    options = parser.parse_args()

    async def models(_: web.Request) -> web.Response:
        return web.Response(body=options.models, content_type="application/json")

    async def completion(request: web.Request) -> web.Response:
        await request.json()
        return web.Response(body=options.completion, content_type="application/json")

    app = web.Application()
    app.add_routes([web.get("/v1/models", models), web.post("/v1/completions", completion)])
    web.run_app(app, host="127.0.0.1", port=options.port, access_log=None, print=lambda _: None)


if __name__ == "__main__":
    main()
