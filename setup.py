"""The build's one step that pyproject.toml cannot say: M-Nets of the study, results and Fig. 1 travel in the wheel."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = (
    "data_samples/mnets/*.safetensors", "results/study/study.json", "results/tables/*/*.json", "docs/architecture.png",
)  # fmt: skip


class BuildWithShipped(build_py):
    """Put them below ``lrnet_edu/shipped``; a clone that is installed in place has them already."""

    def run(self) -> None:
        super().run()
        for path in [path for pattern in SHIPPED for path in Path().glob(pattern) if not self.editable_mode]:
            target = Path(self.build_lib) / "lrnet_edu" / "shipped" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


setup(cmdclass={"build_py": BuildWithShipped})
