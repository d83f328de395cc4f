# help is a double-colon goal, so that each makefile adds its own lines.

.PHONY: help version

version:
	@echo "benchy $$(sed -n 's/^__version__ = "\(.*\)"/\1/p' lib/benchy/__init__.py)" \
	"$$(git describe --always --dirty --exclude='*' 2>/dev/null || true)"

help::
	@echo '  make version                  benchy'"'"'s version and commit'
