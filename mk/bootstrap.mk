# uv and .venv, on which benchy itself runs. bin/bootstrap creates them. lib/launch also calls it,
# for bin/* commands that run without make.

tools := .venv/.tools
dev := .venv/.dev

$(tools): uv.lock pyproject.toml
	@bin/bootstrap

$(dev): uv.lock pyproject.toml $(tools)
	@bin/bootstrap dev

# For manual use, if uv was removed from the machine.
.PHONY: bootstrap
bootstrap:
	@rm -f $(tools)
	@bin/bootstrap
