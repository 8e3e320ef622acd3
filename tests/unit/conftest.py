"""Property tests have no time limit an example: the first one compiles kernels."""

from hypothesis import settings

settings.register_profile("kernels", deadline=None)
settings.load_profile("kernels")
