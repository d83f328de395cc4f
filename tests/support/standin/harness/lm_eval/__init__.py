"""A stand-in for lm-evaluation-harness: its command line, requests and result files; no tasks."""

from importlib.metadata import version

__version__ = version("lm_eval")
