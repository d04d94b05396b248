"""The API reference as web pages that need no network: python docs/make_reference.py [OUT, by default runs/reference].

pdoc reads it off the docstrings; ``pip install "lrnet_edu[docs]"`` brings it.
"""

import pkgutil
import sys
from pathlib import Path

import pdoc

import lrnet_edu


def make_reference(out: Path) -> None:
    """Write ``index.html``, a page of the public names, and a page of every module of the package."""
    for name in lrnet_edu.__all__:  # loaded on first use, and pdoc looks at what is loaded
        setattr(lrnet_edu, name, getattr(lrnet_edu, name))
    found = [module.name for module in pkgutil.walk_packages(lrnet_edu.__path__, "lrnet_edu.")]
    pdoc.render.configure(docformat="google", footer_text=f"lrnet_edu {lrnet_edu.__version__}")
    pdoc.pdoc("lrnet_edu", *(name for name in found if not name.endswith("__main__")), output_directory=out)


if __name__ == "__main__":
    make_reference(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/reference"))
