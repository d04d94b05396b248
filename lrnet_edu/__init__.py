"""lrnet_edu: a paper on distance maps for imbalanced segmentation, made executable.

Every public name is importable from here and loaded on first use, so that ``import lrnet_edu`` stays quick and
needs neither TorchIO nor nibabel nor matplotlib. ``__init__.pyi`` lists them.
"""

import ast
import importlib
from pathlib import Path
from typing import Any

__version__ = "0.1.0"

_IMPORTS = ast.parse(Path(__file__).with_suffix(".pyi").read_text("utf-8")).body
_MODULE_OF = {alias.name: line.module for line in _IMPORTS if isinstance(line, ast.ImportFrom) for alias in line.names}
__all__ = ["__version__", *sorted(_MODULE_OF)]


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(importlib.import_module(_MODULE_OF[name]), name)
    raise AttributeError(f"module 'lrnet_edu' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
