# uv and .venv: what benchy itself runs on. bin/bootstrap does it; lib/launch does the same for who
# calls bin/* without make.

tools := .venv/.tools
dev := .venv/.dev

$(tools): uv.lock pyproject.toml
	@bin/bootstrap

$(dev): uv.lock pyproject.toml $(tools)
	@bin/bootstrap dev

# By hand, for a machine whose uv went away since.
.PHONY: bootstrap
bootstrap:
	@rm -f $(tools)
	@bin/bootstrap
