"""The figures of `scripts/codebase_figures.py` are those that one counts by hand."""

import subprocess
import sys

from tests.conftest import REPOSITORY

SCRIPT = REPOSITORY / "scripts" / "codebase_figures.py"

CODE = '''"""A module with words."""

class Own(Exception):
    """An error."""

class Box:
    size: int
    """In bytes."""
    name: str
    _hidden: int

    def open(self, key: str) -> None:
        # a comment is no code
        if key:
            raise Own(key)
        elif not key:
            raise ValueError
        else:
            for each in key:
                while each:
                    raise KeyError(each)
        assert key

def careful(path):
    """Says something."""
    try:
        return open(path)
    except (OSError, Exception):
        return None
    except BaseException as error:
        raise Own from error
'''

EXPECTED = """
| | tree |
| files | 2 |
| lines of code | 23 |
| file, median lines | 16 |
| largest file | 31 (`code.py`) |
| function, median lines | 8 |
| function, 95th percentile | 11 |
| largest function | 11 (`open`) |
| deepest nesting | 3 |
| functions deeper than 4 | 0 |
| modules with a docstring | 50 % |
| public classes and functions with one | 50 % |
| their typed fields with one | 50 % |
| functions with complete types | 67 % |
| lines of test per line of code | 0.09 |
| raised: classes of its own | 2 |
| raised: ValueError, RuntimeError | 1 |
| raised: other builtin errors | 1 |
| `except Exception` or broader | 2 |
| of these, without a `raise` | 1 |
| `assert` | 1 |
"""


def figures(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_figures_are_those_counted_by_hand(tmp_path):
    code, tests, data = tmp_path / "code", tmp_path / "code" / "tests", tmp_path / "code" / "lang"
    for folder in (code, tests, data):
        folder.mkdir()
    (code / "code.py").write_text(CODE)
    (code / "bare.py").write_text("def _short(count: int) -> int: return count\n")
    (code / "empty.py").touch()
    (tests / "test_code.py").write_text("def test_it():\n    assert True\n")
    (data / "words.py").write_text("raise ValueError\n" * 100)
    done = figures(f"tree={code}:{tests}", "--without", "lang")
    lines = [" ".join(line.split()) for line in done.stdout.splitlines() if "---" not in line]
    assert lines == EXPECTED.strip().splitlines(), done.stderr


def test_a_missing_folder_is_told(tmp_path):
    done = figures(f"tree={tmp_path / 'absent'}")
    assert done.returncode == 2
    assert "names a folder that is not there" in done.stderr
