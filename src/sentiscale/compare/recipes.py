"""Everything that decides what a run does, as plain values that can be compared and kept."""

from typing import Any

from sentiscale.compare.contestants import SHAPE, Contestant, Recipe
from sentiscale.config import Section, Settings, preset_values, resolve

SAME_SHAPE: Recipe = {
    "model.embedding_dim": SHAPE["embedding_dim"], "model.hidden_dim": SHAPE["hidden_dim"],
    "model.layers": 1, "model.bidirectional": False,
    "train.batch_size": SHAPE["batch_size"], "train.max_tokens": SHAPE["max_tokens"],
}  # fmt: skip
"""The same as settings of ours."""


def recipe_of(contestant: Contestant, point: str, base: Settings, *, steps_only: bool) -> dict[str, Any]:
    """The recipe of a run: what decides its result, but for its seed and the conditions all runs share.

    Args:
        contestant: who.
        point: which of its points.
        base: settings given by the user for ours; what differs from the defaults wins over the preset.
        steps_only: ours takes the shape of the recurrent peers, where its network stands alone.
    """
    recipe = {**contestant.recipe, **contestant.points[point]}
    if not contestant.is_ours:
        return recipe
    flags = {**_given(base), **recipe}
    if steps_only and not flags.get("wide.enabled", True):
        flags |= SAME_SHAPE
    settings = resolve(base=preset_values(contestant.preset), flags=flags)
    return settings.model_dump(mode="json", exclude={"prepare"})


def _given(settings: Settings) -> dict[str, Any]:
    """The settings that were given, by dotted name."""
    sections: dict[str, Section] = {name: getattr(settings, name) for name in settings.model_fields_set}
    return {
        f"{name}.{key}": getattr(section, key)
        for name, section in sections.items()
        for key in section.model_fields_set
    }
