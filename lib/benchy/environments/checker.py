"""Check an environment by running a probe with its own Python.

Writes the environment's log, and check.json and flags.json in its folder, each in one rename: a
server that starts from the environment meanwhile reads them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchy.core import files, paths, temporary_files, versions
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

    Writes check.json and flags.json to `folder` if the environment works; else keeps those of the
    last check. Raises Failure with the step that failed and the package that raised the error.
    """
    log = resolver.log_path(spec.env)
    environ = environment_variables.for_engine(uv.variables())
    # The check must not need or change the user's model cache, and must not send usage statistics.
    environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", VLLM_NO_USAGE_STATS="1")
    environ.update(DO_NOT_TRACK="1", VLLM_LOGGING_LEVEL="WARNING", **dict(spec.variables))
    with temporary_files.folder("check") as place:
        model, question, out = place / "tiny", place / "spec.json", place / "out"
        tiny_model.make(model)  # removed together with its folder
        out.mkdir()
        request = {"kind": spec.kind, "package": spec.package, "module": spec.module}
        question.write_text(json.dumps(request), encoding="utf-8")
        python = folder / "bin" / "python"
        command = [str(python), "-I", str(PROBE), str(question), str(model), str(out)]
        label = "checking"
        done = logged_program.run_program(
            command, log, label, environ=environ, timeout=CHECK_SECONDS
        )
        result = files.read_json(out / "check.json")
        failed = _wrong_release(spec, result) or result.get("failed", {})
        if done.status == 0 and result.get("ok") and not failed:
            for name in ("flags.json", "check.json"):
                if (out / name).exists():  # a harness has no flags.json
                    files.replace(folder / name, (out / name).read_text(encoding="utf-8"))
            return str(result["version"])
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


def _wrong_release(spec: BuildSpec, result: Mapping[str, Any]) -> dict[str, str]:
    """Return what failed, as the probe records it, if another release is installed; else {}."""
    installed = result.get("version")
    if not spec.version or not installed or versions.matches(spec.version, installed):
        return {}
    return {"step": "version", "error": f"{spec.package} is {installed}, not {spec.version}"}
