"""Build the neighbor search in C, if there is a C compiler. All other settings are in pyproject.toml.

The environment variable MML_GRAPHS_NATIVE controls the build. With "0", it skips the search in C. With "1",
it fails if there is no C compiler. Without the variable, it skips the search and prints one line.
"""

import os
import sys
import tempfile
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError

from distutils.ccompiler import new_compiler  # isort: skip  # setuptools provides distutils
from distutils.sysconfig import customize_compiler, get_python_inc  # isort: skip

FLAGS = {
    # No fused multiply-add: it would round the two directions of an edge differently. Nothing reads errno.
    "unix": [
        "-std=c11",
        "-O3",
        "-ffp-contract=off",
        "-fno-math-errno",
        "-fvisibility=hidden",
        "-g0",
        "-pthread",
    ],
    "msvc": ["/std:c11", "/O2", "/fp:precise"],
}
SEARCH = Extension(
    "mml_graphs.neighbors._native",
    sources=["native/search.c", "native/module.c"],
    depends=["native/search.h", "native/threads.h"],
    define_macros=[("Py_LIMITED_API", "0x030b0000")],
    py_limited_api=True,
)


class BuildSearch(build_ext):
    """Add the compiler's flags."""

    def build_extension(self, ext: Extension) -> None:
        """Build the extension."""
        kind = "msvc" if self.compiler.compiler_type == "msvc" else "unix"
        ext.extra_compile_args = FLAGS[kind]
        ext.extra_link_args = ["-pthread"] if kind == "unix" else []
        super().build_extension(ext)


def why_not() -> str | None:
    """Return why a module for Python cannot be compiled here, or None if it can."""
    compiler = new_compiler()
    customize_compiler(compiler)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text("#include <Python.h>\n", encoding="utf-8")
        try:
            compiler.compile([str(source)], folder, include_dirs=[get_python_inc()])
        except (BaseError, CCompilerError, OSError) as error:
            return f"no C compiler or no headers of Python: {error}"
    return None


def extensions() -> list[Extension]:
    """Return the modules to build."""
    wanted = os.environ.get("MML_GRAPHS_NATIVE", "")
    if wanted not in ("", "0", "1"):
        sys.exit(f"mml-graphs: MML_GRAPHS_NATIVE must be 0 or 1, got {wanted!r}")
    reason = "MML_GRAPHS_NATIVE is 0" if wanted == "0" else why_not()
    if reason is None:
        return [SEARCH]
    if wanted == "1":
        sys.exit(f"mml-graphs: MML_GRAPHS_NATIVE is 1, but the search in C cannot be built: {reason}")
    if sys.argv[1:2] != ["egg_info"]:
        sys.stderr.write(
            f"mml-graphs: building without the search in C; NumPy finds the neighbors ({reason})\n"
        )
    return []


found = extensions()
setup(
    ext_modules=found,
    cmdclass={"build_ext": BuildSearch},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if found else {},
)
