"""The small prepared dataset of the training tests."""

from tests.training.conftest import dataset, reviews

__all__ = ["dataset", "reviews"]
