"""Runs bin/serve on the nodes of a job after the first.

Runs this node's part of the engine until the server on the first node ends.
"""

from __future__ import annotations

from benchy.cluster import multi_node
from benchy.cluster.multi_node import Node
from benchy.core.errors import Died, Failure
from benchy.display.messages import say
from benchy.process.signals import Signals, guarded
from benchy.serving import diagnosis, engine_log, engine_variables
from benchy.serving.preparation import TAG, PreparedServer
from benchy.serving.session import locked_environment, new_log, take

NOTICED = 3.0  # seconds by which the engine may notice the first node's end before benchy does


def follow(prepared: PreparedServer, node: Node, signals: Signals) -> int:
    """Run this node's part of the server, and return 0 once the server on the first node has ended.

    Raises Failure if there is no first node or the engine cannot be started, and Died if the engine
    here ends first.
    """
    spec = prepared.spec
    held, cards = take(spec)
    log = new_log(f"{spec['model']}.node{node.rank}")
    try:
        address, port = node.find(float(spec["startup_timeout"]))
        part = multi_node.words(spec["nodes"]["follower"], {"model": prepared.model})
        joining = node.arguments(spec["nodes"], address, port)
        argv = [prepared.environment.python, *part, *prepared.arguments, *joining]
        with (
            locked_environment(prepared, signals) as use,
            guarded(signals, (*held.descriptors, use)) as guardian,
        ):
            try:
                variables = engine_variables.for_server(spec, "", cards)
                guardian.start("server", argv, variables, str(log))
            except OSError as error:
                raise Failure(f"{spec['model']}: the engine can't be started: {error}") from None
            say(TAG, f"{spec['model']}  node {node.rank} serves with {address}")
            while "server" not in guardian.wait(1):
                if not node.first():
                    return 0
            if node.over(NOTICED):
                return 0
            text = engine_log.Log(log, 0).text()
            known = diagnosis.explain(text)
            what, hint = (known.what, known.hint) if known else ("it ended", "read the log")
            what = f"{spec['model']}: node {node.rank} of its server: {what}"
            raise Died(what, hint, log, diagnosis.significant_lines(text, 8))
    finally:
        held.release()
