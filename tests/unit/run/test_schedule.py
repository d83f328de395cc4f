"""The order of models: their expected times, and how soon all of them end."""

from __future__ import annotations

import json
import random
import statistics
from pathlib import Path

import specs
from benchy.run import schedule
from benchy.run.schedule import Item

GPUS = tuple(f"gpu-{number}" for number in range(8))


def test_longest_first_on_equal_devices() -> None:
    items = [Item(f"m{s}", s, 1, GPUS[:2]) for s in (1, 5, 2, 9, 3)]
    assert schedule.best(items) == ["m9", "m5", "m3", "m2", "m1"]
    assert schedule.lasts([items[3], items[1], items[4], items[2], items[0]]) == 10
    assert schedule.lasts(items, at_once=1) == 20


def test_order_of_mixed_widths_on_eight_gpus_is_near_the_optimum() -> None:
    dice, ratios = random.Random(7), []  # noqa: S311
    for _ in range(20):
        items = [
            Item(f"m{n}", dice.lognormvariate(3, 0.6), dice.choice([1, 1, 1, 2, 2, 4, 4, 8]), GPUS)
            for n in range(24)
        ]
        named = {item.name: item for item in items}
        best = schedule.best(items)
        assert best == schedule.best(items) and sorted(best) == sorted(named)
        ratios.append(schedule.lasts([named[name] for name in best]) / schedule.least(items))
    assert statistics.median(ratios) < 1.05 and max(ratios) < 1.15


def test_pinned_and_too_wide_models_can_be_ordered() -> None:
    items = [Item("pinned", 3, 1, GPUS[:1]), Item("any", 2, 1, GPUS[:2]), Item("all", 1, 2, GPUS)]
    assert schedule.lasts(items) >= 3
    assert schedule.lasts([Item("wide", 1, 9, GPUS)]) == float("inf")
    assert schedule.best([Item("wide", 1, 9, GPUS), Item("m", 1, 1, GPUS)])


def test_expected_time_is_that_of_earlier_results(tmp_path: Path) -> None:
    def result(name: str, seconds: float, ready: float | None) -> str:
        path = tmp_path / name
        path.write_text(json.dumps({"times": {"seconds": seconds, "server_ready_seconds": ready}}))
        return str(path)

    both = [result("a", 10, 60), result("b", 30, None)]
    assert schedule.took(both) == 60 + 40
    assert schedule.took([*both, str(tmp_path / "never made")]) == 60 + 60
    (tmp_path / "damaged").write_text('{"times": 3}')
    assert schedule.took([str(tmp_path / "damaged")]) is None


def test_weight_is_the_size_of_local_weights(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x" * 1000)
    (tmp_path / "README.md").write_bytes(b"x" * 50)
    assert schedule.weight(specs.server(path=str(tmp_path))) == 1000
    blobs = tmp_path / "hub/models--org--m/blobs"
    blobs.mkdir(parents=True)
    (blobs / "0123").write_bytes(b"x" * 500)
    hub = str(tmp_path / "hub")
    assert schedule.weight(specs.server(name="org/m", hf_cache=hub)) == 500
    assert schedule.weight(specs.server(name="org/other", hf_cache=hub)) is None


def test_unknown_time_is_estimated_from_weights_or_the_longest_model() -> None:
    found = schedule.expectations(
        {"known": 100.0, "sized": None, "nothing": None}, {"known": 10, "sized": 5, "nothing": None}
    )
    assert found == {"known": 100.0, "sized": 50.0, "nothing": 100.0}
    assert schedule.expectations({"a": None}, {"a": None}) == {"a": 1.0}
