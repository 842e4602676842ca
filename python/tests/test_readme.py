"""The README's example does what it says."""

from __future__ import annotations

import pathlib
import re


def test_the_example() -> None:
    readme = (pathlib.Path(__file__).parent.parent / "README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    assert len(blocks) == 1
    exec(blocks[0], {})
