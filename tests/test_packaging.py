"""What a user installs: the archives hold what they should, and the wheel runs from an environment of its own."""

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def call(*command: object, cwd: Path) -> str:
    """Run a command away from the checkout and from PYTHONPATH; its output, or an assertion that shows what it said."""
    words = [str(word) for word in command]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel, built from the sdist, and the sdist."""
    out = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    (wheel,) = out.glob("*.whl")
    (sdist,) = out.glob("*.tar.gz")
    return wheel, sdist


@pytest.fixture(scope="module")
def environment(archives: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel; its dependencies are borrowed, so that it is made offline and in seconds."""
    venv = tmp_path_factory.mktemp("environment") / "venv"
    call(sys.executable, "-m", "venv", "--without-pip", venv, cwd=venv.parent)
    python = venv / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python)
    call(*pip, "install", "--no-index", "--no-deps", archives[0], cwd=venv.parent)
    site = Path(call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=venv.parent).strip())
    # Borrowed paths come after the wheel's own, and .pth files inside them (an editable torchhebb) are not read.
    borrowed = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    (site / "borrowed.pth").write_text("\n".join(borrowed) + "\n")
    return venv


def test_archives_hold_the_package(archives: tuple[Path, Path]) -> None:
    wheel = set(zipfile.ZipFile(archives[0]).namelist())
    with tarfile.open(archives[1]) as tar:
        sdist = {name.partition("/")[2] for name in tar.getnames()}
    package = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src" / "torchhebb").rglob("*.py")}
    package |= {"torchhebb/py.typed", "torchhebb/report/page.html.j2"}
    package |= {f"torchhebb/weights/{path.name}" for path in (ROOT / "src" / "torchhebb" / "weights").iterdir()}
    assert package <= wheel
    assert {f"src/{name}" for name in package} <= sdist
    assert {"LICENSE", "README.md", "pyproject.toml", "requirements.txt", "tests/test_packaging.py"} <= sdist
    assert {name.partition("/")[0] for name in wheel} == {"torchhebb", f"torchhebb-{PROJECT['version']}.dist-info"}


def test_the_wheel_is_what_runs(environment: Path) -> None:
    program = """
import importlib.metadata
import torchhebb
print(torchhebb.__file__, torchhebb.__version__, importlib.metadata.version("torchhebb"), sep="\\n")
"""
    file, version, installed = call(environment / "bin" / "python", "-c", program, cwd=environment).splitlines()
    assert Path(file).is_relative_to(environment)
    assert version == installed == PROJECT["version"]


def test_trained_networks_are_installed(environment: Path) -> None:
    program = """
import torch, torchhebb
from torchhebb.recipes import list_pretrained
for name in list_pretrained():
    network = torchhebb.create_model(name, pretrained=True)
    x = torch.rand(2, *network.architecture.input_shape)
    assert network.classifier(x).shape == (2, len(network.classes)), name
print(*list_pretrained())
"""
    assert "softhebb2023-digits" in call(environment / "bin" / "python", "-c", program, cwd=environment).split()


def test_the_command_line_starts(environment: Path) -> None:
    assert "train" in call(environment / "bin" / "torchhebb", "--help", cwd=environment)


def canonical(requirement: str) -> str:
    """The name of a requirement as the package index compares it.

    >>> canonical("huggingface_hub>=1")
    'huggingface-hub'
    """
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement, maxsplit=1)[0]).lower()


def test_everything_needed_is_pinned() -> None:
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines), "one exact public version a line"
    wanted = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
    assert {canonical(name) for name in wanted} <= {canonical(line) for line in lines}
