# uv and .venv, which benchy itself runs on. bin/bootstrap makes them; lib/launch calls it for
# callers of bin/* without make.

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
