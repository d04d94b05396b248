"""``environment.yml`` gives conda users what ``pyproject.toml`` gives pip users."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_conda_and_pip_users_get_the_same() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = {*project["dependencies"], *extras["course"], *extras["test"]}
    text = (ROOT / "environment.yml").read_text()
    assert set(re.findall(r'^ +- "(.+)"$', text, flags=re.MULTILINE)) == wanted
    assert f"- python{project['requires-python']}" in text
    assert text.rstrip().endswith("- -e .")


def test_a_plain_install_pulls_in_no_jupyter() -> None:
    needed = " ".join(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"])
    assert not re.search("jupyter|ipykernel|ipywidgets|nbval|playwright", needed)
