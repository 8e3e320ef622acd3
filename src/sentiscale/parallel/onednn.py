"""Did a recurrent layer run on oneDNN's fused kernel? Off it, a CPU step is many times slower."""

from torch import Tensor
from torch.autograd.graph import Node

FUSED_NODE = "MkldnnRnnLayerBackward"


def ran_on_onednn(output: Tensor) -> bool:
    """Whether `output`, or something it was computed from, is the result of oneDNN's recurrent layer.

    Looks at the autograd graph, which names the operation that really ran and the one its backward pass
    will run. That costs microseconds; a profiler would need a second to start. `output` must have been
    computed with gradients enabled.
    """
    seen: set[Node] = set()
    waiting = [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        if node.name().startswith(FUSED_NODE):
            return True
        seen.add(node)
        waiting.extend(parent for parent, _ in node.next_functions)
    return False
