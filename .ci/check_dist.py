"""Check what a source distribution and a wheel hold: all that is needed, and nothing else."""

import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
SOURCE_FOLDERS = ("csrc", "rnnfast", "bench", "docs", "examples", "tests")
SOURCE_FILES = {"setup.py", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"}
SOURCE_SUFFIXES = {".py", ".pyx", ".pxd", ".pyi", ".c", ".h", ".md", ".rst", ".css", ".toml", ".typed"}
MADE = {ROOT / "docs" / name for name in ("_build", "api", "pictures")}  # when the pages were built
BUILT = {p.with_suffix(".c") for p in (ROOT / "rnnfast" / "_native").glob("*.pyx")}


def wanted_in_source() -> set[str]:
    found = set(SOURCE_FILES)
    for folder in SOURCE_FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if any(made in path.parents for made in MADE):
                continue
            if (path.suffix in SOURCE_SUFFIXES or path.name == "py.typed") and path not in BUILT:
                found.add(path.relative_to(ROOT).as_posix())
    return found


def wanted_in_wheel() -> set[str]:
    package = ROOT / "rnnfast"
    found = {p.relative_to(ROOT).as_posix() for p in package.rglob("*") if p.suffix in {".py", ".pyi"}}
    return found | {"rnnfast/py.typed"}


def main(folder: str) -> None:
    (source,) = Path(folder).glob("*.tar.gz")
    (wheel,) = Path(folder).glob("*.whl")
    with tarfile.open(source) as archive:
        in_source = {name.partition("/")[2] for name in archive.getnames()}
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = {name for name in archive.namelist() if ".dist-info/" not in name}
    compiled = {name for name in in_wheel if PurePosixPath(name).suffix in {".so", ".pyd"}}
    modules = {PurePosixPath(name).name.split(".")[0] for name in compiled}
    problems = {
        "missing from the source": wanted_in_source() - in_source,
        "built files in the source": {n for n in in_source if PurePosixPath(n).suffix in {".so", ".o", ".pyc"}},
        "missing from the wheel": wanted_in_wheel() - in_wheel,
        "not needed in the wheel": in_wheel - compiled - wanted_in_wheel(),
        "not compiled": {path.stem for path in BUILT} - modules,
    }
    wrong = {what: sorted(names) for what, names in problems.items() if names}
    if wrong:
        sys.exit("\n".join(f"{what}: {', '.join(names)}" for what, names in wrong.items()))
    print(f"{source.name}: {len(in_source)} files; {wheel.name}: {len(in_wheel)} files")


if __name__ == "__main__":
    main(sys.argv[1])
