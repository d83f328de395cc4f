"""`python -m standin_engine --model M …`: start three processes and serve until told to stop."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from . import __version__, children, faults, make_arg_parser, together
from .language import Model
from .server import Engine, make_server

LONGEST_CONTEXT = 32768  # tokens; what config.json would say


def say(process: str, pid: int, text: str, level: str = "INFO") -> None:
    """A line such as vLLM logs: `(EngineCore pid=7) INFO 11-23 09:36:31 [core.py:133] …`."""
    when = time.strftime("%m-%d %H:%M:%S")
    for line in text.splitlines():
        print(
            f"({process} pid={pid}) {level} {when} [standin.py:1] {line}",
            file=sys.stderr,
            flush=True,
        )


def record(**fields: object) -> None:
    """Append one JSON line to STANDIN_LOG_FILE: one write, so that parallel starts don't mix."""
    if path := os.environ.get("STANDIN_LOG_FILE"):
        with Path(path).open("ab", buffering=0) as log:
            log.write(json.dumps(fields).encode() + b"\n")


def kill(core: subprocess.Popen[bytes]) -> None:
    core.kill()
    core.wait()


def stop(core: subprocess.Popen[bytes], grace: float = 5) -> None:
    core.terminate()
    try:
        core.wait(grace)
    except subprocess.TimeoutExpired:
        say("APIServer", os.getpid(), "engine core did not stop in time", "ERROR")


def main(argv: list[str]) -> int:
    options = make_arg_parser().parse_args(argv)
    served = options.served_model_name or [options.model]
    fault = faults.asked_for(options.model, served[0])
    me = os.getpid()
    say("APIServer", me, f"vLLM API server version {__version__}\nargs: {argv}")
    length = options.max_model_len or 2048
    if length > LONGEST_CONTEXT:
        say(
            "APIServer",
            me,
            f"ValueError: User-specified max_model_len ({length}) is greater than "
            f"the derived max_model_len (max_position_embeddings={LONGEST_CONTEXT}).",
            "ERROR",
        )
        return 1

    def interrupted(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupted)
    signal.signal(signal.SIGTERM, signal.SIG_IGN if fault.stubborn else interrupted)
    core, worker = children.start_core(fault.stubborn)
    headless, others = getattr(options, "headless", False), contextlib.ExitStack()
    try:
        record(
            event="follow" if headless else "start",
            model=served[0],
            root=options.model,
            version=__version__,
            pid=me,
            core=core.pid,
            worker=worker,
            argv=argv,
            CUDA_VISIBLE_DEVICES=os.environ.get("CUDA_VISIBLE_DEVICES"),
        )
        if headless:
            together.join(options)
        if getattr(options, "nnodes", 1) > 1:
            others.enter_context(together.gathered(options))
        stage = float(os.environ.get("STANDIN_START_SECONDS", "0")) / 4
        say(
            "EngineCore",
            core.pid,
            f"Initializing a V1 LLM engine (v{__version__}) with config: "
            f"model='{options.model}', max_seq_len={length}",
        )
        time.sleep(stage)
        say("Worker", worker, f"Starting to load model {options.model}...")
        if fault.text:
            say("EngineCore", core.pid, f"EngineCore failed to start.\n{fault.text}", "ERROR")
            stop(core)
            print(
                "RuntimeError: Engine core initialization failed. See root cause above. "
                "Failed core proc(s): {}",
                file=sys.stderr,
                flush=True,
            )
            return 1
        while fault.hang:
            time.sleep(1)
        time.sleep(stage)
        say(
            "Worker",
            worker,
            "Loading weights took 0.01 seconds\nWarming up model for the compilation...",
        )
        time.sleep(stage)
        say(
            "EngineCore",
            core.pid,
            "init engine (profile, create kv cache, warmup model) took 0.10 s",
        )
        time.sleep(stage)
        engine = Engine(
            Model(options.model),
            options.seed,
            served,
            options.model,
            length,
            options.max_logprobs,
            os.environ.get("VLLM_API_KEY", ""),
            fault,
            lambda: kill(core),
            lambda: core.poll() is None,
        )
        server = make_server(engine, options.host or "127.0.0.1", options.port)
        say("APIServer", me, f"Starting vLLM server on http://{options.host}:{options.port}")
        print("INFO:     Application startup complete.", file=sys.stderr, flush=True)
        for _ in range(fault.loud):
            print("x" * 999_999, file=sys.stderr)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        while core.poll() is None:
            time.sleep(0.05)
        time.sleep(0.2)  # what waits for an answer gets its error first
        say(
            "APIServer",
            me,
            "EngineDeadError: EngineCore encountered an issue. See stack trace "
            "(above) for the root cause.",
            "ERROR",
        )
        return 1
    except KeyboardInterrupt:
        say("APIServer", me, "Shutting down")
        return 0
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        stop(core)
        others.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
