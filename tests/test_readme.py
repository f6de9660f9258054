"""The README's Python runs as it stands, from top to bottom, and its commands are found by whoever runs them."""

import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()
PYTHON = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
COMMANDS = dict(re.findall(r"^<!-- ci: (\w+) -->\n```sh\n(.+)\n```$", README, re.MULTILINE))


def test_python_blocks(tmp_path):
    assert len(PYTHON) >= 5
    code = "\n".join(PYTHON)
    # The working folder is not the clone: what runs is the package that these tests import.
    path = str(Path(__file__).resolve().parents[1])
    program = f"import sys; sys.path.insert(0, {path!r})\n{code}"
    found = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert found.returncode == 0, found.stderr


def test_commands():
    assert COMMANDS == {
        "install": "pip install . && python -m rnnfast demo",
        "test": "pip install '.[test]' && python -m pytest",
    }
