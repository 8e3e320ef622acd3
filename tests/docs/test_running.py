"""What runs the pages, on small pages: order, what goes on, what is hidden, what fails."""

import pytest

from tests.docs.running import blocks_of, run_page, runnable

PAGE = """
# A page

```bash
echo 1 > number
```

- indented, as in a list

  ```bash
  echo 2 >> number
  ```

<!--
```python
hidden = 40
```
-->

Python goes on:

```python
print(hidden + 2)
```

```console
exit 1
```
"""


def test_blocks_keep_tag_text_and_line():
    first, second, *_ = blocks_of(PAGE)
    assert (first.tag, first.text, first.line) == ("bash", "echo 1 > number\n", 4)
    assert (second.tag, second.text) == ("bash", "echo 2 >> number\n")


def test_python_goes_on_and_console_is_not_run():
    assert [block.tag for block in runnable(PAGE)] == ["bash", "bash", "python"]
    assert runnable(PAGE)[2].text == "hidden = 40\n\nprint(hidden + 2)\n"


def test_blocks_run_in_one_folder_in_order_and_leave_nothing_else(tmp_path):
    run_page(PAGE, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["number"]
    assert (tmp_path / "number").read_text() == "1\n2\n"


@pytest.mark.parametrize(
    "block",
    [
        "```bash\nfalse\ntrue\n```",
        "```bash\necho $unset\n```",
        "```bash\nfalse | true\n```",
        "```python\n1 / 0\n```",
    ],
)
def test_what_fails_anywhere_in_a_block_fails_the_page(block, tmp_path):
    with pytest.raises(AssertionError, match="line 1:"):
        run_page(block, tmp_path)
