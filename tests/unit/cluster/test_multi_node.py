"""Tests of servers over several nodes: how nodes find each other, and which specs are refused."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import specs
from benchy.cluster import multi_node
from benchy.cluster.multi_node import Node
from benchy.core.errors import ConfigError, Failure
from benchy.core.specs import ServerSpec

WORDS = ["--nnodes={{ nodes }}", "--node-rank={{ rank }}"]


def test_other_nodes_find_the_first_node_and_notice_its_end(tmp_path: Path) -> None:
    meeting = tmp_path / "run/nodes/m-1.json"
    first, other = Node(0, meeting), Node(1, meeting)
    found: list[Any] = []
    waiting = threading.Thread(target=lambda: found.append(other.find(10)))
    waiting.start()
    time.sleep(0.2)
    with first.meet(2950) as address:
        waiting.join(10)
        assert found == [(address, 2950)] and not other.over(0)
    assert other.over(0) and not list(meeting.parent.iterdir())


def test_find_fails_without_a_first_node(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="found no first node within 0 s"):
        Node(1, tmp_path / "m.json").find(0)


def test_here_reads_the_rank_of_this_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(multi_node.MEETING, raising=False)
    assert multi_node.here() is None
    monkeypatch.setenv(multi_node.MEETING, "run/nodes/m.json")
    monkeypatch.setenv(multi_node.RANK, "SITE_RANK")
    monkeypatch.delenv("SITE_RANK", raising=False)
    with pytest.raises(Failure, match="SITE_RANK does not say which node"):
        multi_node.here()
    monkeypatch.setenv("SITE_RANK", "3")
    assert multi_node.here() == Node(3, Path("run/nodes/m.json"))


def test_option_templates_are_filled() -> None:
    assert multi_node.words(WORDS, {"nodes": 2, "rank": 1}) == ["--nnodes=2", "--node-rank=1"]


def test_own_address_skips_loopback_address_of_the_host_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def named(*addresses: str) -> None:
        rows = [(socket.AF_INET, 1, 6, "", (address, 0)) for address in addresses]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_: rows)

    named("127.0.1.1", "10.1.2.3")
    assert multi_node.own_address() == "10.1.2.3"
    named("127.0.1.1")  # then the address of the default route, or none
    assert multi_node.own_address() != "127.0.1.1"


def spec(**more: Any) -> ServerSpec:
    given = {
        "model": "wide", "source": "configs/wide.yaml", "device": "gpu", "gpus": 16,
        "nodes": {"count": 2, "words": WORDS, "follower": []},
    }  # fmt: skip
    return specs.server(**given | more)


REFUSED = [
    ({"gpus": 15}, True, "15 GPUs are not divisible by the nodes: wide runs over 2 nodes"),
    ({"options": {"data_parallel_size": 2}}, True, "data_parallel_size: works on one node only"),
    (
        {"release": "0.10.2", "environment": "vllm_0_10_2"}, True,
        "vLLM 0.10.2 has no --nnodes: wide runs over 2 nodes",
    ),
    ({"nodes": {"count": 2, "words": []}}, True, "has no --nnodes"),
    ({}, False, "configs/launchers/site.yaml: rank: is missing: wide needs it"),
]  # fmt: skip


@pytest.mark.parametrize(("more", "counts", "words"), REFUSED)
def test_impossible_multi_node_servers_are_refused(
    more: dict[str, Any], counts: bool, words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        multi_node.refuse([spec(**more)], "site", counts)
    assert words in str(caught.value)


def test_possible_multi_node_servers_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    multi_node.refuse([spec(), spec(nodes=None, gpus=3)], "site", True)
    multi_node.refuse([spec(release="0.11.2", environment="vllm_0_11_2")], "site", True)
