"""The commands of bin/, one thin module each: argparse, then a call."""
