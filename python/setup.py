"""Builds the C library with cargo and puts it beside the Python files.

WARPNORM_CARGO_PROFILE names the profile, `release` by default; cargo's own variables work as usual.
"""

import os
import pathlib
import shutil
import subprocess

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.dist import Distribution

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:
    from wheel.bdist_wheel import bdist_wheel

ROOT = pathlib.Path(__file__).resolve().parent.parent
LIBRARY = "libwarpnorm.so"


class BuildWithCargo(build_py):
    def run(self) -> None:
        super().run()
        profile = os.environ.get("WARPNORM_CARGO_PROFILE", "release")
        target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
        command = ["cargo", "build", "--locked", "--package", "warpnorm-capi", "--features", "emulator"]
        command += ["--profile", profile, "--target-dir", str(target)]
        if shutil.which("cargo") is None:
            raise SystemExit("warpnorm is built from source by cargo, which is not on PATH: install Rust 1.88 or newer")
        subprocess.run(command, cwd=ROOT, check=True)
        built = target / ("debug" if profile == "dev" else profile) / LIBRARY
        # An editable installation has its package here; any other in the folder that is being built.
        package = ROOT / "python" / "src" if self.editable_mode else pathlib.Path(self.build_lib)
        shutil.copy2(built, package / "warpnorm" / LIBRARY)


class PlatformWheel(bdist_wheel):
    """The library is of this platform, and of no version of Python."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


class WithLibrary(Distribution):
    def has_ext_modules(self) -> bool:
        return True


setup(cmdclass={"build_py": BuildWithCargo, "bdist_wheel": PlatformWheel}, distclass=WithLibrary)
