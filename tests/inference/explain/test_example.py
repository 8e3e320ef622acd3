"""The example says what it says it says."""

import subprocess
import sys

from tests.conftest import REPOSITORY

EXAMPLE = REPOSITORY / "examples" / "explain.py"


def test_the_example_explains_reviews(trained):
    command = [sys.executable, str(EXAMPLE), str(trained), "Not bad at all.", "..."]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) == 4 + 1
    assert lines[0].split()[0] in ("positive", "negative")
    assert 'without "' in lines[3]
    assert lines[4].endswith("...")
