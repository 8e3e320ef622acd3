"""What `import sentiscale` offers: every promised name is there, and no module hides one."""

import inspect

import pytest

import sentiscale


@pytest.mark.parametrize("name", sentiscale.__all__)
def test_a_public_name_is_a_documented_object(name):
    found = getattr(sentiscale, name)
    assert not inspect.ismodule(found)
    assert inspect.getdoc(found)


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="no attribute 'modell'"):
        sentiscale.modell  # noqa: B018 - looking is what is tested


def test_names_are_listed_for_completion():
    assert set(sentiscale.__all__) <= set(dir(sentiscale))
