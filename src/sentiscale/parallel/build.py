"""The one place that knows which runner a layout takes."""

from sentiscale.parallel.stage import Plan, Stage
from sentiscale.parallel.staged import InnerRunner, OuterRunner
from sentiscale.parallel.whole import WholeRunner
from sentiscale.parallel.world import World


def build_runner(plan: Plan, world: World) -> Stage:
    """The runner of this rank."""
    if world.layout.model == 1:
        return WholeRunner(plan, world)
    return OuterRunner(plan, world) if world.stage == 0 else InnerRunner(plan, world)
