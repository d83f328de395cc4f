"""Shortened prompts of flipped samples."""

from __future__ import annotations

from benchy.reporting import comparison_text


def test_a_flipped_sample_shows_both_ends_of_its_prompt() -> None:
    said = comparison_text.both_ends("BEGIN" + "x" * 5000 + "END")
    assert said.startswith("BEGINx") and said.endswith("xEND") and len(said) < 620
    assert comparison_text.both_ends("short") == "short"
