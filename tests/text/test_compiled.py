"""A person who waits for the compiler is told so, once."""

import numba

from sentiscale.text.compiled import announced_compilation


def fresh_kernel():
    return numba.njit(lambda value: value + 1)


def test_a_compilation_is_told_once_and_only_in_the_block():
    said: list[str] = []
    compiled = fresh_kernel()
    compiled(1)
    with announced_compilation(said.append):
        assert compiled(1) == 2
        assert said == []
        assert fresh_kernel()(1) + fresh_kernel()(2.5) == 5.5
        assert len(said) == 1
    fresh_kernel()(1)
    assert len(said) == 1
