"""The build's one step that pyproject.toml cannot say: the demo's trained M-Nets travel in the wheel."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithMNets(build_py):
    """Put ``data_samples/mnets`` beside the package; a clone that is installed in place has them already."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            self.copy_tree("data_samples/mnets", str(Path(self.build_lib) / "lrnet_edu" / "mnets"))


setup(cmdclass={"build_py": BuildWithMNets})
