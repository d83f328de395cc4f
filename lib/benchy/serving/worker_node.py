"""Runs bin/serve on the nodes of a job after the first.

Runs this node's part of the engine until the server on the first node ends.
"""

from __future__ import annotations

from benchy.cluster import multi_node
from benchy.cluster.multi_node import Node
from benchy.core.errors import Died, Failure
from benchy.display.messages import say
from benchy.process.signals import Signals, guarded
from benchy.serving import engine_log, known_failures
from benchy.serving.preparation import Plan, environment
from benchy.serving.session import TAG, new_log, settled, take

NOTICED = 3.0  # seconds by which the engine may notice the first node's end before benchy does


def follow(plan: Plan, node: Node, signals: Signals) -> int:
    """Run this node's part of the server, and return 0 once the server on the first node has ended.

    Raises Failure if there is no first node or the engine cannot be started, and Died if the engine
    here ends first.
    """
    spec = plan.spec
    held, cards = take(spec)
    log = new_log(f"{spec['model']}.node{node.rank}")
    try:
        address, port = node.find(float(spec["startup_timeout"]))
        part = multi_node.words(spec["nodes"]["follower"], {"model": plan.model})
        joining = node.arguments(spec["nodes"], address, port)
        argv = [plan.place.python, *part, *plan.arguments, *joining]
        with (
            settled(plan, signals) as use,
            guarded(signals, (*held.descriptors, use)) as guardian,
        ):
            try:
                guardian.start("server", argv, environment(spec, "", cards), str(log))
            except OSError as error:
                raise Failure(f"{spec['model']}: the engine can't be started: {error}") from None
            say(TAG, f"{spec['model']}  node {node.rank} serves with {address}")
            while "server" not in guardian.wait(1):
                if not node.first():
                    return 0
            if node.over(NOTICED):
                return 0
            text = engine_log.Log(log, 0).text()
            known = known_failures.explain(text)
            what, hint = (known.what, known.hint) if known else ("it ended", "read the log")
            what = f"{spec['model']}: node {node.rank} of its server: {what}"
            raise Died(what, hint, log, known_failures.telling_lines(text, 8))
    finally:
        held.release()
