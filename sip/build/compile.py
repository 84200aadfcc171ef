"""Compiles pjproject and its Python binding."""

import sysconfig
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sip.build.recipe import CONFIG_SITE, CONFIGURE, CONFIGURE_STRIPPED, LDFLAGS, SWIG_FLAGS, Recipe
from sip.build.source import Sources
from sip.build.steps import Steps
from sip.build.toolchain import Toolchain

_PJ_LIBRARIES = ("pjlib", "pjlib-util", "pjnath", "pjmedia", "pjsip")

# speexdsp's own configure would write this: the widths that its headers are made of.
_SPEEX_TYPES = """\
#include <stdint.h>
typedef int16_t spx_int16_t;
typedef uint16_t spx_uint16_t;
typedef int32_t spx_int32_t;
typedef uint32_t spx_uint32_t;
"""


@dataclass(frozen=True)
class Binding:
    """The two files of `import pjsua2`, and the license texts of all that is linked into them."""

    module: Path
    extension: Path
    licenses: dict[str, Path]


class Compiler:
    """One build, in one folder."""

    def __init__(self, recipe: Recipe, sources: Sources, tools: Toolchain, steps: Steps, work: Path, jobs: int) -> None:
        """`jobs` is how many processors to use."""
        self._recipe = recipe
        self._sources = sources
        self._tools = tools
        self._steps = steps
        self._jobs = jobs
        self._prefix = work / "prefix"
        self._python = sources.pjproject / "pjsip-apps/src/swig/python"

    def compile(self) -> Binding:
        """Build everything. Raises StepFailedError naming the step that failed."""
        if self._sources.srtp is not None and self._sources.speexdsp is not None:
            self._steps.phase("SRTP and the resampler")
            self._make_srtp(self._sources.srtp)
            self._make_resampler(self._sources.speexdsp)
        self._steps.phase("configuring pjproject")
        self._configure()
        self._steps.phase("compiling pjproject and its Python binding (most of the time goes here)")
        # The binding is one file of 6 MB that keeps one processor busy for a minute; the libraries share the rest.
        with ThreadPoolExecutor(2) as pool:
            tree = self._sources.pjproject
            libraries = pool.submit(
                self._steps.run, "libraries", ["make", f"-j{max(1, self._jobs - 1)}", "lib"], cwd=tree
            )
            binding = pool.submit(self._compile_binding)
            libraries.result()
            wrapper = binding.result()
        self._steps.phase("linking")
        return self._link(wrapper)

    def _cflags(self) -> list[str]:
        return [*self._recipe.cflags, *self._tools.cflags]

    def _ldflags(self) -> list[str]:
        return [*LDFLAGS, *self._tools.ldflags]

    def _make_srtp(self, tree: Path) -> None:
        environment = {
            "CFLAGS": " ".join(self._cflags()),
            "LDFLAGS": " ".join(self._ldflags()),
            # Said here so that its configure does not ask pkg-config, which knows nothing of a fetched libssl-dev.
            "crypto_CFLAGS": " ",
            "crypto_LIBS": "-lcrypto",
        }
        configure = ["./configure", "--enable-openssl", f"--prefix={self._prefix}"]
        self._steps.run("srtp-configure", configure, cwd=tree, env=environment)
        self._steps.run("srtp-make", ["make", f"-j{self._jobs}", "libsrtp2.a"], cwd=tree)
        self._steps.run("srtp-install", ["make", "install"], cwd=tree)

    def _make_resampler(self, tree: Path) -> None:
        """One file of speexdsp is all that pjmedia's resampling uses."""
        headers = self._prefix / "include/speex"
        headers.mkdir(parents=True, exist_ok=True)
        for header in ("speex_resampler.h", "speexdsp_types.h"):
            (headers / header).write_bytes((tree / "include/speex" / header).read_bytes())
        (headers / "speexdsp_config_types.h").write_text(_SPEEX_TYPES, encoding="utf-8")
        source = tree / "libspeexdsp/resample.c"
        compiled = tree / "resample.o"
        defines = ("-DFLOATING_POINT", "-DEXPORT=", f"-I{self._prefix / 'include'}", f"-I{source.parent}")
        self._steps.run("resampler", ["gcc", *self._cflags(), *defines, "-c", source, "-o", compiled])
        library = self._prefix / "lib/libspeexdsp.a"
        library.parent.mkdir(parents=True, exist_ok=True)
        self._steps.run("resampler-library", ["ar", "rcs", library, compiled])

    def _configure(self) -> None:
        tree = self._sources.pjproject
        (tree / "pjlib/include/pj/config_site.h").write_text(CONFIG_SITE, encoding="utf-8")
        # Debian leaves out this sound driver, which is not free, and the Makefile names it; we build no sound.
        (tree / "pjmedia/src/pjmedia-audiodev/bdimad_dev.c").touch()
        flags, cflags, ldflags, libraries = list(CONFIGURE), self._cflags(), self._ldflags(), []
        if self._sources.srtp is not None:
            flags += CONFIGURE_STRIPPED
            cflags.append(f"-I{self._prefix / 'include'}")
            ldflags.append(f"-L{self._prefix / 'lib'}")
            # A static libsrtp2 does not say that it needs libcrypto, and configure tries to link it.
            libraries += ["-lspeexdsp", "-lcrypto"]
        environment = {
            "CFLAGS": " ".join(cflags),
            "CXXFLAGS": " ".join(cflags),
            "LDFLAGS": " ".join(ldflags),
            "LIBS": " ".join(libraries),
        }
        self._steps.run("configure", ["./configure", *flags], cwd=tree, env=environment)

    def _compile_binding(self) -> Path:
        tree = self._sources.pjproject
        includes = [f"-I{tree / library / 'include'}" for library in _PJ_LIBRARIES]
        swig: list[str | Path] = [self._tools.swig, *SWIG_FLAGS, *includes, "-o", "pjsua2_wrap.cpp", "../pjsua2.i"]
        self._steps.run("swig", swig, cwd=self._python, env=self._tools.swig_environment)
        compiled = self._python / "pjsua2_wrap.o"
        command: list[str | Path] = [
            "g++",
            *self._flags("cflags"),
            *self._tools.python_cflags,
            "-c",
            "pjsua2_wrap.cpp",
            "-o",
            compiled,
        ]
        self._steps.run("binding", command, cwd=self._python)
        return compiled

    def _flags(self, kind: str) -> Sequence[str]:
        """What pjproject's own makefile says of that kind (cflags, ldflags or libs), after configure."""
        command = ["make", "-s", "--no-print-directory", "-f", "helper.mak", kind]
        return self._steps.run(f"flags-{kind}", command, cwd=self._python).split()

    def _link(self, wrapper: Path) -> Binding:
        suffix = sysconfig.get_config_var("EXT_SUFFIX")
        extension = self._python / f"_pjsua2{suffix}"
        libraries = [f"-l{name}" for name in self._flags("libs")]
        self._steps.run("link", ["g++", "-shared", wrapper, *self._flags("ldflags"), *libraries, "-o", extension])
        licenses = {"pjproject": self._sources.pjproject / "COPYING"}
        if self._sources.srtp is not None and self._sources.speexdsp is not None:
            licenses |= {"libsrtp": self._sources.srtp / "LICENSE", "speexdsp": self._sources.speexdsp / "COPYING"}
        return Binding(self._python / "pjsua2.py", extension, licenses)
