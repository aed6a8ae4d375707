"""Wait for a call from outside: `python examples/webhook.py`.

`callback()` makes a token. The workflow hands it to another system, here a bank, and waits; whoever holds the token can answer, with a
value or with a failure, through any client. A web server in front of a client makes it a webhook. Everything is local and offline.
"""

from __future__ import annotations

import json
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote, unquote

import attrs

import replay
from replay import CallbackFailed, Workflow, callback, step, workflow


@attrs.frozen
class Payment:
    """What the bank answers."""

    reference: str
    cents: int


@step
def ask_bank(url: str, cents: int) -> None:
    """Ask for a payment; the bank will call `url` when it knows."""

    def bank() -> None:
        answer = {"error": "no such account"} if cents > 100_000 else {"value": {"reference": f"R-{cents}", "cents": cents}}
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(answer).encode(), method="POST")):
            pass

    threading.Timer(0.05, bank).start()


@workflow
def payment(hooks: str, cents: int) -> Workflow[str]:
    answer = yield from callback(Payment, timeout=3600)
    yield from ask_bank(f"{hooks}/{quote(answer.token)}", cents)
    try:
        paid = yield from answer
    except CallbackFailed as failed:
        return f"not paid: {failed.message}"
    return f"paid {paid.cents} cents, reference {paid.reference}"


def hooks(client: replay.Client) -> type[BaseHTTPRequestHandler]:
    """A web server's handler: POST /TOKEN answers the callback of that token."""

    class Hooks(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            token = unquote(self.path.lstrip("/"))
            try:
                client.fail(token, said["error"]) if "error" in said else client.answer(token, said["value"])
                self.send_response(204)
            except replay.RequestError as error:  # no such run, or it has ended
                self.send_response(404, str(error))
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    return Hooks


def main() -> None:
    with replay.Engine("memory://") as engine, ThreadingHTTPServer(("127.0.0.1", 0), hooks(engine)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        small = engine.start(payment(address, 1_200), id="payment-1")
        large = engine.start(payment(address, 1_200_000), id="payment-2")
        print("small:", small.result(timeout=30))
        print("large:", large.result(timeout=30))
        server.shutdown()


if __name__ == "__main__":
    main()
