"""The one place that knows which runner a layout takes."""

from sentiscale.parallel.pipeline import InnerRunner, OuterRunner
from sentiscale.parallel.runner import Plan, Stage, WholeRunner
from sentiscale.parallel.world import World


def build_runner(plan: Plan, world: World) -> Stage:
    """The runner of this rank."""
    if world.layout.model == 1:
        return WholeRunner(plan, world)
    return OuterRunner(plan, world) if world.stage == 0 else InnerRunner(plan, world)
