"""An OpenAI-compatible server that behaves as the model's name in the question says; run as a program of its own.

It prints its port, and writes a line for each question to the file it is given: the time, the key, the body.
"""

from __future__ import annotations

import base64
import io
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from PIL import Image

LOG = Path(sys.argv[1])
LOCK = threading.Lock()
SEEN: dict[str, int] = {}


def completion(text: str, finish: str = "stop", **more: object) -> dict:
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text}, **more}
    return {"choices": [choice], "usage": {"prompt_tokens": 100, "completion_tokens": 7, "cost": 0.25}}


def sizes(messages: list[dict]) -> list[str]:
    """Heights and widths of all pictures in a question."""
    urls = [part["image_url"]["url"] for said in messages for part in said["content"] if "image_url" in part]
    images = [Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) for url in urls]
    return [f"{image.height}x{image.width}" for image in images]


def piece(delta: dict, finish: str | None = None) -> bytes:
    return (
        b"data: " + json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}).encode() + b"\n\n"
    )


def said(message: dict, **more: object) -> dict:
    return {"choices": [{"index": 0, "finish_reason": "stop", "message": message, **more}]}


SKY = '{"annotations": ["sky"]}'
STREAM = [b": hello\n\n", piece({"role": "assistant", "content": SKY[:9]}), piece({"content": SKY[9:]})]
USAGE = b'data: {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 6}}\n\ndata: [DONE]\n\n'
FORMS = {
    "parts": said({"content": [{"type": "text", "text": SKY[:5]}, {"type": "text", "text": SKY[5:]}]}),
    "thinks": said({"content": SKY, "reasoning_content": 'A lawn? {"annotations": ["lawn"]}'}),
    "reasons": said({"content": SKY, "reasoning": "hm", "reasoning_content": None}),
    "thinks-aloud": said({"content": f'<think>{{"annotations": ["lawn"]}}</think>\n{SKY}'}),
    "still-thinks": said({"content": '<think>maybe {"annotations": ["lawn"]}'}),
    "declines": said({"content": None, "refusal": "I will not look at that."}),
    "silent": said({"content": None}),
    "counts-oddly": {**said({"content": SKY}), "usage": {"prompt_tokens": float("nan"), "completion_tokens": "many"}},
    "counts-not": {**said({"content": SKY}), "usage": [1]},
    "streams": b"".join([*STREAM, piece({}, "stop"), USAGE]),
    "streams-half": b"".join(STREAM),
    "object": said({"content": {"annotations": ["sky"]}}),
    "excuses": {"error": {"message": "the model is loading", "code": 502}},
    "nan": said({"content": "Yes"}, logprobs={"content": [{"token": "Yes", "top_logprobs": [
        {"token": "Yes", "logprob": float("nan")}, {"token": "No", "logprob": -1.0}]}]}),
}  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def send(self, code: int, content: object, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:  # noqa: N802
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = self.headers.get("Authorization", "")
        with LOCK:
            number = SEEN[body["model"]] = SEEN.get(body["model"], 0) + 1
            with LOG.open("a") as log:
                log.write(json.dumps({"time": time.monotonic(), "key": key, "path": self.path, **body}) + "\n")
        good = completion('{"annotations": ["sky", "boat"]}')
        kind, _, limit = body["model"].partition(":")
        if kind == "good":
            self.send(200, good)
        elif kind == "busy":  # 429, 500, a closed line, garbage, half an answer, an empty choice; then good
            refusals = [
                lambda: self.send(429, {"error": {"message": "slow down"}}, Retry_After="0"),
                lambda: self.send(500, b"<html>oops"),
                lambda: self.connection.close(),
                lambda: self.send(200, b"\xff\x00 garbage"),
                lambda: self.send(200, json.dumps(good).encode()[:20], Content_Length="400") or self.connection.close(),
                lambda: self.send(200, good),
            ]
            refusals[min(number, 6) - 1]()
        elif kind == "down":
            self.send(503, {"error": "overloaded"})
        elif kind == "empty":
            self.send(200, {"choices": []})
        elif kind == "prose":
            self.send(200, completion("I see the sky and a lawn."))
        elif kind == "prose-then-json":
            again = len(body["messages"]) > 1
            self.send(200, good if again else completion('{"annotations": ["sky", "la', "length"))
        elif kind == "slow":
            time.sleep(0.5)
            self.send(200, good)
        elif kind == "dies":  # after `limit` answers
            if number > int(limit):
                self.send(400, {"error": {"message": "the money is used up"}})
            else:
                self.send(200, good)
        elif kind in ("hangs", "later"):  # after `limit` answers
            if number <= int(limit):
                self.send(200, good)
            elif kind == "hangs":
                time.sleep(600)
            else:
                self.send(429, {"error": "not today"}, Retry_After="3600")
        elif kind == "rude":  # says what would clear a screen, and turn what follows
            self.send(400, {"error": {"message": "no\x1b[2J\x07 \u202ereverse\r\nand a second line"}})
        elif kind == "exits":  # after `limit` answers, as if it were killed
            if number > int(limit):
                os._exit(1)
            self.send(200, good)
        elif kind == "strict":
            if "response_format" in body:
                self.send(400, {"error": {"message": "response_format is not supported"}})
            else:
                self.send(200, good)
        elif kind == "locked":
            self.send(401, {"error": {"message": f"wrong key {key}"}})
        elif kind == "moved":
            self.send(307, b"", Location="http://127.0.0.1:9/v1/chat/completions")
        elif kind == "endless":
            self.send(200, b"x" * 200_000)
        elif kind == "yes":
            top = [
                {"token": " Yes", "logprob": -0.5},
                {"token": "yes", "logprob": -3.0},
                {"token": "No", "logprob": -1.5},
            ]
            self.send(200, completion("Yes", logprobs={"content": [{"token": " Yes", "top_logprobs": top}]}))
        elif kind == "thinker":  # what it answers tells what it was told
            said = json.dumps(body["messages"])
            seen = "image_url" in said
            self.send(200, completion("a wide green meadow" if seen else json.dumps(["lawn"] * ("meadow" in said))))
        elif kind in (
            "picky",
            "heavy",
            "withholds",
            "throttles",
            "chokes",
        ):
            if limit not in sizes(body["messages"]):  # such as 20x30
                self.send(200, good)
            elif kind == "picky":
                self.send(400, {"error": {"message": f"content policy; wrong key {key}", "code": "content_filter"}})
            elif kind == "heavy":
                self.send(413, b"")
            elif kind == "withholds":
                self.send(200, completion("", "content_filter"))
            elif kind == "throttles":
                self.send(429, {"error": "slow down"})
            else:
                self.send(500, {"error": "out of memory"})
        elif kind == "repeats":  # the key, at the end of a long line
            self.send(400, {"error": {"message": "x" * 180 + f" {key}"}})
        elif kind in FORMS:
            self.send(200, FORMS[kind])
        else:
            self.send(404, {"error": {"message": f"model {body['model']} not found"}})


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()
