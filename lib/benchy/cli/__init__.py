"""One thin module a command of bin/: argparse, then a call."""
