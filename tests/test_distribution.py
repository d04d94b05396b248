"""sdist and wheel: built from the clone, installed into an empty environment, used without the clone."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("build", reason="the package build is not installed")

ROOT = Path(__file__).parents[1]
NOT_COPIED = (".git", ".venv", "venv", "runs", "build", "dist", "__pycache__", "*.egg-info", ".*_cache", "branches")
INSTALL = ("install", "-q", "--no-deps", "--no-index")
USE = """
import sys
from pathlib import Path
import lrnet_edu
from lrnet_edu import MaskPainter, load_pretrained_lrnet
from lrnet_edu.data.samples import study_mnet
from lrnet_edu.kinds import KINDS
from lrnet_edu.trained import load_mnet
assert Path(lrnet_edu.__file__).is_relative_to(sys.prefix), lrnet_edu.__file__
for kind in KINDS:
    load_pretrained_lrnet(kind)
load_pretrained_lrnet("NI-DM", activation="sigmoid")
load_mnet(study_mnet())
assert "startAll" in MaskPainter()._repr_mimebundle_()["text/html"]
print("used")
"""


def run(*line: str | Path, **options: Any) -> str:
    """What a command prints."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(line, capture_output=True, encoding="utf-8", check=False, env=environment, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clone") / "lrnet_edu"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*NOT_COPIED))
    return folder


@pytest.fixture(scope="module")
def built(clone: Path) -> tuple[Path, Path]:
    """(sdist, wheel); the wheel is built from the sdist."""
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", clone / "dist", clone)
    return next((clone / "dist").glob("*.tar.gz")), next((clone / "dist").glob("*.whl"))


def test_both_hold_the_whole_package_and_nothing_else(clone: Path, built: tuple[Path, Path]) -> None:
    sdist, wheel = built
    wanted = {path.relative_to(clone).as_posix() for path in (clone / "lrnet_edu").rglob("*") if path.is_file()}
    patterns = ("data_samples/mnets/*.safetensors", "results/study/study.json", "results/tables/*/*.json")
    shipped = {path.relative_to(ROOT).as_posix() for pattern in patterns for path in ROOT.glob(pattern)}
    shipped.add("docs/architecture.png")
    assert shipped >= {f"data_samples/mnets/{arm}.safetensors" for arm in ("base", *"ABCDEJ")}
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if not re.match(r"lrnet_edu-[0-9.]+\.dist-info/", name)}
    assert inside == wanted | {f"lrnet_edu/shipped/{name}" for name in shipped}
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= wanted | shipped
    unwanted = "tests|notebooks|benchmarks|data_samples/.*nii|results/(?!study$|study/study.json|tables)"
    assert not [name for name in names if re.match(unwanted, name)]


def test_a_clone_installed_in_place_is_found_from_the_folder_that_holds_it(clone: Path, tmp_path: Path) -> None:
    """There Python sees a folder of the package's name, the clone, and must not take it for the package."""
    run(sys.executable, "-m", "pip", *INSTALL, "--no-build-isolation", "--target", tmp_path, "-e", clone)
    code = (
        f"import site; site.addsitedir({str(tmp_path)!r}); "
        "from lrnet_edu.support.errors import InputError; import lrnet_edu; print(lrnet_edu.__file__)"
    )
    found = run(sys.executable, "-E", "-S", "-c", code, cwd=clone.parent)  # without whatever is installed here
    assert Path(found.strip()) == clone / "lrnet_edu" / "__init__.py"


def test_the_wheel_works_in_an_empty_environment(built: tuple[Path, Path], tmp_path: Path) -> None:
    """Its dependencies are this environment's; the clone is not among them."""
    venv.create(tmp_path / "empty", with_pip=False)
    scripts = tmp_path / "empty" / ("Scripts" if os.name == "nt" else "bin")
    python = shutil.which("python", path=str(scripts))
    assert python
    packages = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
    dependencies = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    (Path(packages.strip()) / "dependencies.pth").write_text("\n".join(dependencies), "utf-8")
    run(sys.executable, "-m", "pip", "--python", python, *INSTALL, built[1])
    assert run(python, "-c", USE, cwd=tmp_path) == "used\n"
    overview = run(python, "-m", "lrnet_edu", "--help", cwd=tmp_path)
    assert "reproduce" in overview
    assert run(scripts / "lrnet-edu", "--help", cwd=tmp_path) == overview
