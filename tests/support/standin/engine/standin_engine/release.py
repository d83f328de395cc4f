"""Which release this is. ../../wheels.py replaces this file in the release that lies."""

from __future__ import annotations

from importlib.metadata import version

VERSION = version("standin-engine")
ANSWERED = VERSION  # what /version says
