"""Build the C objects, one per instruction set with its own flags, and the Cython modules.

Every ``csrc/isa_*.c`` is compiled on its own, so that code for a newer instruction set can never leak into code that
runs everywhere, and the objects are linked into the one module that binds ``rnnfast.h``. Extra objects, unlike
static libraries, serve wheels and editable installs alike.
"""

import os
import platform
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# Without debugging information, which Python's own flags ask for: it is most of the size and some of the time.
COMMON = ["-std=gnu11", "-O3", "-g0", "-fvisibility=hidden", "-ffp-contract=off", "-fno-math-errno", "-pthread"]
COMMON += ["-Wall", "-Wextra"]
X86 = {
    "scalar": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma", "-mprefer-vector-width=512"],
}
ARM = {"scalar": [], "neon": []}


def instruction_sets() -> dict[str, list[str]]:
    """Return the instruction sets to build for this machine's family, each with its compiler flags."""
    machine = os.environ.get("RNNFAST_BUILD_MACHINE", platform.machine()).lower()
    if machine in {"x86_64", "amd64"}:
        return X86
    if machine in {"aarch64", "arm64"}:
        return ARM
    return {"scalar": []}


class BuildExt(build_ext):
    """Compile the C objects once each with their own flags, then the Cython modules."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def run(self) -> None:
        super().run()
        if not self.inplace:
            # ``python -m`` looks in the current folder first: after ``pip install .`` a clone must run as it stands.
            self.copy_extensions_to_source()

    def build_extensions(self) -> None:
        self.check_compiler()
        isas = instruction_sets()
        built = [(f"RF_HAVE_{isa.upper()}", "1") for isa in isas]
        depends = [str(p) for p in sorted(Path("csrc").rglob("*")) if p.suffix in {".c", ".h"}]
        jobs = [(f"csrc/isa_{isa}_{kind}.c", flags) for isa, flags in isas.items() for kind in ("f32", "f64")]
        jobs += [("csrc/dispatch.c", []), ("csrc/memory.c", []), ("csrc/pool.c", []), ("csrc/trials.c", [])]

        def compile_one(job: tuple[str, list[str]]) -> list[str]:
            source, flags = job
            return self.compiler.compile(
                [source],
                output_dir=self.build_temp,
                include_dirs=["csrc"],
                macros=built,
                extra_postargs=COMMON + flags,
                depends=depends,
            )

        with ThreadPoolExecutor(self.parallel) as pool:
            objects = [path for paths in pool.map(compile_one, jobs) for path in paths]
        for extension in self.extensions:
            if extension.name == "rnnfast._native.kernels":
                extension.extra_objects = objects
                extension.depends = [*extension.depends, *depends]
        super().build_extensions()

    def check_compiler(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "probe.c")
            source.write_text("#include <Python.h>\nint rnnfast_probe(void) { return 0; }\n")
            try:
                self.compiler.compile([str(source)], output_dir=folder)
            except Exception:
                sys.exit(
                    "rnnfast needs a working C compiler (gcc or clang) and the Python headers to be built from source; "
                    "on Debian or Ubuntu: apt install gcc python3-dev"
                )


def extensions() -> list[Extension]:
    """Return one extension for each Cython file; all see ``csrc`` for the one header."""
    return [
        Extension(
            f"rnnfast._native.{path.stem}",
            [path.as_posix()],
            depends=["csrc/rnnfast.h"],
            include_dirs=["csrc", numpy.get_include()],
            define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
            extra_compile_args=["-O3", "-g0", "-fvisibility=hidden", "-ffp-contract=off"],
            extra_link_args=["-pthread"],
        )
        for path in sorted(Path("rnnfast/_native").glob("*.pyx"))
    ]


setup(
    ext_modules=cythonize(
        extensions(),
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
            "embedsignature": True,
        },
    ),
    cmdclass={"build_ext": BuildExt},
)
