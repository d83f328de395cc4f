"""Check an environment by running a probe with its own Python.

Reads check.json in the environment's folder, which the probe writes together with flags.json.
Writes the environment's log.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchy.core import files, paths, temporary_files
from benchy.core.errors import Failure
from benchy.environments import resolver, uv
from benchy.environments.environment_spec import BuildSpec
from benchy.process import environment_variables, logged_program
from benchy.scripts import tiny_model

CHECK_SECONDS = 900.0  # a first import of vLLM from a cold network disk takes minutes
PROBE = paths.SCRIPTS / "probe_environment.py"


def check_result(env: str) -> dict[str, Any]:
    return files.read_json(paths.env_dir(env) / "check.json")


def check(spec: BuildSpec, folder: Path) -> str:
    """Probe the environment in `folder` and return the version that the probe found.

    Writes check.json and flags.json to `folder`. Raises Failure with the step that failed and the
    package that raised the error.
    """
    log = resolver.log_path(spec.env)
    environ = environment_variables.for_engine(uv.variables())
    # The check must not need or change the user's model cache, and must not send usage statistics.
    environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", VLLM_NO_USAGE_STATS="1")
    environ.update(DO_NOT_TRACK="1", VLLM_LOGGING_LEVEL="WARNING", **dict(spec.variables))
    with temporary_files.folder("check") as place:
        model, question = place / "tiny", place / "spec.json"
        tiny_model.make(model)  # removed together with its folder
        request = {"kind": spec.kind, "package": spec.package, "version": spec.version}
        question.write_text(json.dumps({**request, "module": spec.module}), encoding="utf-8")
        (folder / "check.json").unlink(missing_ok=True)
        python = folder / "bin" / "python"
        command = [str(python), "-I", str(PROBE), str(question), str(model), str(folder)]
        label = "checking"
        done = logged_program.run_program(
            command, log, label, environ=environ, timeout=CHECK_SECONDS
        )
    result = files.read_json(folder / "check.json")
    if done.status == 0 and result.get("ok"):
        return str(result.get("version"))
    failed = result.get("failed", {})
    if not failed:
        hint = "this CPU lacks instructions that the build uses" if done.status == -4 else ""
        raise uv.failure(done, f"{spec.env} was installed, but its check crashed", log, hint)
    blame = f" (raised in {failed['culprit']})" if failed.get("culprit") else ""
    raise Failure(
        f"{spec.env} was installed, but it does not work: {failed['step']}{blame}",
        "a repair in the engine's file under configs/engines can pin what broke it",
        log,
        [failed["error"]],
    )
