"""Record what a server gets from the harness: run the command line of bin/eval against a stand-in
server.

    .venv/bin/python tests/e2e/record.py CONFIG TASK OUT.json

Run it in the root of a checkout. It uses no limit and the caches of a run. Writes a list of
[path, body] of all requests, in order of arrival.
"""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

sys.path.insert(0, "lib")
from benchy.evaluation import harness, preview

posted: list[tuple[str, Any]] = []
lock = threading.Lock()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with lock:
            posted.append((self.path, body))
        prompts = body.get("prompt", [[]])
        prompts = prompts if isinstance(prompts[0], list) else [prompts]
        choices = []
        for n, ids in enumerate(prompts):
            probabilities = {
                "token_logprobs": [None, *[-0.5] * len(ids)],
                "top_logprobs": [None, *[{"x": -0.5}] * len(ids)],
            }
            words = {"text": "no", "message": {"role": "assistant", "content": "no"}}
            choices.append(
                {"index": n, "finish_reason": "stop", "logprobs": probabilities, **words}
            )
        text = json.dumps({"choices": choices}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *args: Any) -> None:
        pass


def main(argv: list[str]) -> int:
    specs = preview.specs(argv[0], argv[1], None)
    server, spec, how = specs.server, specs.result, specs.task
    preview.make_model(server)
    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{listening.server_port}"
    endpoint = harness.HarnessEndpoint(url, server["name"], server["options"]["max_model_len"])
    with tempfile.TemporaryDirectory() as folder:
        inside = Path(folder)
        cache = inside / "cache"
        cache.mkdir()
        files = harness.RunFiles(
            inside / "output", inside / "settings.json", inside / "facts.jsonl", cache
        )
        fields = preview.request_fields(server)
        place = ("127.0.0.1", listening.server_port)  # owned by this process, a child of getppid()
        asked = harness.settings(spec, files.facts, fields, place, os.getppid())
        files.settings.write_text(json.dumps(asked))
        command = harness.command(spec, how, endpoint, files)
        env = harness.environment(spec, how, server, cache, os.environ)
        done = subprocess.run(command, env=env, stdout=sys.stderr, timeout=300)
    listening.shutdown()
    Path(argv[2]).write_text(json.dumps(posted))
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
