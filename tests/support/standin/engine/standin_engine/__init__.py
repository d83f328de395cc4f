"""A stand-in for vLLM: its command line, HTTP interface, processes and log lines; no model."""

from .arguments import make_arg_parser
from .release import VERSION as __version__

__all__ = ["__version__", "make_arg_parser"]
