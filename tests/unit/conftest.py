"""What the unit tests share; property tests have no time limit an example: the first one compiles kernels."""

import pytest
from hypothesis import settings

settings.register_profile("kernels", deadline=None)
settings.load_profile("kernels")


@pytest.fixture
def write(tmp_path):
    def to(name, lines):
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return to
