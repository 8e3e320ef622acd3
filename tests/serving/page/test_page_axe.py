"""The page under axe, the usual checker of accessibility rules, in both themes."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.serving.conftest import CLASSES
from tests.serving.page.test_page_looks import with_everything, with_one


@pytest.fixture(scope="package")
def axe() -> str:
    """Its source, from the package that carries it."""
    spec = find_spec("axe_playwright_python")
    if spec is None or spec.origin is None:
        pytest.skip("needs axe: pip install axe-playwright-python")
    return Path(spec.origin).with_name("axe.min.js").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("prepare", [with_one, with_everything])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_axe_finds_nothing(open_page, address, axe, width, scheme, prepare):
    driver = open_page(address, color_scheme=scheme, viewport={"width": width, "height": 900})
    prepare(driver)
    assert violations(driver, axe) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", CLASSES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_with_more_classes(open_page, class_services, axe, number, scheme):
    address = f"http://127.0.0.1:{class_services[number].port}/"
    driver = open_page(address, color_scheme=scheme, viewport={"width": 360, "height": 900})
    driver.write("great, not bad!")
    driver.wait_for_words("great, not bad!")
    for details in driver.page.locator("details").all():
        details.evaluate("details => { details.open = true; }")
    assert violations(driver, axe) == []


def violations(driver, axe):
    driver.page.evaluate(axe)
    found = driver.page.evaluate("axe.run()")["violations"]
    return [(rule["id"], [node["html"][:120] for node in rule["nodes"]]) for rule in found]
