"""The pages of the API reference, written from the table of public names before Sphinx reads the sources.

A name that the package exports has a page for being exported. Nothing has to be repeated here but where it belongs, and
what belongs nowhere gets a section named after its module.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

from sphinx.util.nodes import make_refnode

import rnnfast

SECTIONS = {
    "layers": ("Layers", "layers"),
    "models": ("Models", "models"),
    "losses": ("Losses and what decodes their outputs", "losses", "ctc", "ctc_decoding", "crf_loss"),
    "training": ("Training", "trainer", "callbacks", "loggers"),
    "optimizers": ("Optimisers and clipping", "optimizers", "clipping"),
    "schedules": ("Schedules", "schedules"),
    "metrics": ("Metrics", "metrics"),
    "inference": ("Streams, generation and decoding", "stream", "generation", "decoding"),
    "diagnosis": ("Diagnosis and proof", "diagnostics", "gradient_check", "gates"),
    "files": ("Files and other libraries", "io", "graph"),
    "data": ("Data", "data"),
    "initializers": ("Initial parameters", "initializers"),
    "sklearn": ("scikit-learn", "sklearn"),
    "plotting": ("Pictures", "plotting"),
    "machine": ("Threads, backends, memory", "threads", "backend", "_native.kernels"),
}
"""Pages by file: a title, and the modules of ``rnnfast`` whose public names it has."""

INTRODUCTION = """Everything public, with what its docstring says: shapes, defaults, errors, sources. Names of
``rnnfast`` itself are loaded when they are first used; ``import rnnfast`` loads next to nothing."""


def public_names(home: str) -> list[str]:
    """Return the full names of what a module gives to users: what ``rnnfast`` exports of it and what it lists."""
    exported = [f"rnnfast.{name}" for name in rnnfast._HOMES.get(home, ())]
    if home.startswith("_"):
        return exported
    module = importlib.import_module(f"rnnfast.{home}")
    listed = getattr(module, "__all__", None)
    if listed is None:
        listed = [
            name for name, what in vars(module).items() if home in rnnfast._SUBMODULES and is_own(module, name, what)
        ]
    there = {id(getattr(rnnfast, name)) for name in rnnfast._HOME}
    more = sorted(name for name in listed if id(getattr(module, name)) not in there)
    return exported + [f"rnnfast.{home}.{name}" for name in more if not isinstance(getattr(module, name), ModuleType)]


def is_own(module: ModuleType, name: str, what: Any) -> bool:
    """Return whether a name is a public function or class that the module itself defines."""
    return not name.startswith("_") and callable(what) and getattr(what, "__module__", "") == module.__name__


def resolve(full: str) -> Any:
    """Return what a full name stands for."""
    parts = full.split(".")
    for count in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            found = getattr(found, part)
        return found
    raise LookupError(full)


def homes() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return the sections with their modules that are there, and one more for each module that has none."""
    known = {home for _, *modules in SECTIONS.values() for home in modules}
    found = {page: (title, tuple(filter(exists, modules))) for page, (title, *modules) in SECTIONS.items()}
    rest = {home.replace(".", "_"): (home, (home,)) for home in rnnfast._HOMES if home not in known}
    return {page: (title, modules) for page, (title, modules) in (found | rest).items() if modules}


def exists(home: str) -> bool:
    """Return whether the package has such a module."""
    return importlib.util.find_spec(f"rnnfast.{home}") is not None


def text_of(title: str, names: list[str]) -> str:
    """Return a page: a table of classes, one of functions, one of errors, each entry with a page of its own."""
    kinds: dict[str, list[str]] = {"Classes": [], "Functions": [], "Errors": [], "Data": []}
    for name in names:
        what = resolve(name)
        if inspect.isclass(what):
            kinds["Errors" if issubclass(what, BaseException) else "Classes"].append(name)
        else:
            kinds["Functions" if callable(what) else "Data"].append(name)
    lines = [*heading(title, "=")]
    for kind, members in kinds.items():
        if members:
            template = ["   :template: autosummary/class.rst"] if kind in ("Classes", "Errors") else []
            table = [".. autosummary::", "   :toctree: generated", "   :nosignatures:", *template, ""]
            lines += [*heading(kind, "-"), *table, *(f"   {name}" for name in members), ""]
    return "\n".join(lines)


def heading(title: str, line: str) -> list[str]:
    """Return a heading of reStructuredText."""
    return [title, line * len(title), ""]


def write(folder: Path) -> None:
    """Write all pages into a folder; what is there already and would be the same keeps its time."""
    pages = {
        page: text_of(title, [n for home in mods for n in public_names(home)])
        for page, (title, mods) in homes().items()
    }
    entries = [f"   {page}" for page in pages]
    index = [*heading("API reference", "="), INTRODUCTION, "", ".. toctree::", "   :maxdepth: 1", "", *entries, ""]
    pages["index"] = "\n".join(index)
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.rst"):
        if old.stem not in pages:
            old.unlink()
    for page, text in pages.items():
        path = folder / f"{page}.rst"
        if not path.exists() or path.read_text() != text:
            shutil.rmtree(folder / "generated", ignore_errors=True)
            path.write_text(text)


def find(app: Any, env: Any, node: Any, contnode: Any) -> Any:
    """Return a link to what a docstring calls by its short name: of the same class, or the only one of that name."""
    if node.get("refdomain") != "py":
        return None
    target, domain = node["reftarget"], env.get_domain("py")
    for wanted in (f".{node.get('py:class')}.{target}", f".{target}"):
        found = {(o.docname, o.node_id): o for name, o in domain.objects.items() if name.endswith(wanted)}
        if len(found) == 1:
            (entry,) = found.values()
            return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, contnode)
    return None


def is_foreign(app: Any, what: str, name: str, member: Any, skip: bool, options: Any) -> bool | None:
    """Leave out what estimators inherit from scikit-learn, whose own pages tell of it."""
    home = getattr(member, "__module__", None) or ""
    return True if home.startswith("sklearn.") or re.fullmatch(r"set_\w+_request", name) else None


def setup(app: Any) -> dict[str, bool]:
    """Have the pages written before Sphinx looks what files there are."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("config-inited", lambda app, config: write(Path(app.srcdir) / "api"))
    app.connect("missing-reference", find)
    app.connect("autodoc-skip-member", is_foreign)
    return {"parallel_read_safe": True}
