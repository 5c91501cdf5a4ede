"""Ray's fake provider of nodes, whose nodes may be lost as those of a cloud are."""

from typing import Any

from ray.autoscaler._private.fake_multi_node.node_provider import FakeMultiNodeProvider


class LosableNodes(FakeMultiNodeProvider):
    """Lists no node whose raylet has ended: a cloud does not list a machine that it took away."""

    def non_terminated_nodes(self, tag_filters: dict[str, str]) -> list[Any]:
        with self.lock:
            for node_id in [node_id for node_id in self._nodes if self._is_lost(node_id)]:
                del self._nodes[node_id]
        return super().non_terminated_nodes(tag_filters)

    def _is_lost(self, node_id: str) -> bool:
        node = self._nodes[node_id].get("node")
        return node is not None and not node.remaining_processes_alive()
