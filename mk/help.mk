# help is a double-colon goal, so that each makefile adds its own lines.

.PHONY: help version

version:
	@echo "benchy $$(sed -n 's/^__version__ = "\(.*\)"/\1/p' lib/benchy/__init__.py)" \
	"$$(git describe --always --dirty --exclude='*' 2>/dev/null || true)"

help::
	@echo '  make version                  show benchy'"'"'s version and commit'
	@echo ''
	@echo '  V=1 shows commands, V=2 also why they run. -k continues after failures. local.mk can set knobs.'
	@echo '  docs/knobs.md describes all knobs.'
