"""Python programs in forks of one process that has imported the large packages, which takes seconds of a processor.

This checkout's packages are imported before the fork, too; a program with a path of its own imports them anew. A test
of what a program imports needs a process of its own.
"""

import atexit
import ctypes
import gc
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from multiprocessing import forkserver, get_context
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("tevit", "app", "train", "tests")
PRELOADED = ("torch", "torchvision.ops", "timm", "safetensors.torch", "gradio", "cv2", "av", "scipy.optimize", "plotly")
PLOTTING = ("matplotlib.pyplot",)  # gradio imports it as the first event comes
OWN = ("tevit.cli.main", "app.app", "app.ui", "tests.app.fakes")


def fork_server() -> ForkServerContext:
    """Python's fork server, with the packages imported; it ends with this process. Its forks have one thread for
    PyTorch: a team of OpenMP threads does not survive a fork."""
    processes = get_context("forkserver")
    processes.set_forkserver_preload([*PRELOADED, *PLOTTING, *OWN])
    with patch.dict(os.environ, OMP_NUM_THREADS="1"):
        forkserver.ensure_running()
    return processes


class ForkedProgram:
    """`python ARGUMENTS` in a fork, with the methods of `subprocess.Popen` that the tests need; see `start_python`.

    stdout, stderr: the files of its output.
    """

    def __init__(self, stdout: Path, stderr: Path, *program: Any):
        self.stdout, self.stderr = stdout, stderr
        for file in (stdout, stderr):
            file.write_text("")
        self._process = fork_server().Process(target=_run, args=(stdout, stderr, *program))
        self._process.start()
        atexit.register(self._process.kill)  # before multiprocessing waits for it
        self.pid = self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        """None while it runs; of a signal its negative number."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float = 60) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
        return self.returncode

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


def start_python(
    *arguments: object,
    folder: Path,
    cwd: Path = ROOT,
    stdin: Path | None = None,
    stderr: Path | None = None,
    before: Callable[[], object] | None = None,
    variables: Mapping[str, str] | None = None,
) -> ForkedProgram:
    """Start `python ARGUMENTS`: `-m MODULE ...`, `-c CODE ...` or `FILE ...`.

    folder: where the files of its output are written. stdin: a file or a named pipe. stderr: the file of its standard
    error. before: called in the fork before the program. variables: of the environment, beside this process's.
    """
    place = Path(tempfile.mkdtemp(dir=folder, prefix="program"))
    words = list(map(str, arguments))
    environment = os.environ | dict(variables or {})
    return ForkedProgram(place / "stdout", stderr or place / "stderr", words, cwd, stdin, environment, before)


def run_python(
    *arguments: object,
    folder: Path,
    cwd: Path = ROOT,
    stdin: bytes | None = None,
    variables: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run` of `python ARGUMENTS`, its output as text; see `start_python`.

    stdin: bytes that the program reads from a pipe.
    """
    pipe = None
    if stdin is not None:
        pipe = Path(tempfile.mkdtemp(dir=folder, prefix="pipe")) / "stdin"
        os.mkfifo(pipe)
    process = start_python(*arguments, folder=folder, cwd=cwd, stdin=pipe, variables=variables)
    if pipe is not None and stdin is not None:
        pipe.write_bytes(stdin)
    code = process.wait(timeout=300)
    output, errors = process.stdout.read_text(), process.stderr.read_text()
    return subprocess.CompletedProcess([sys.executable, *map(str, arguments)], code, output, errors)


def drop_root_override() -> None:
    """Remove root's capability to write everywhere (CAP_DAC_OVERRIDE) from this process."""
    libc, header, sets = ctypes.CDLL(None), (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, sets) == 0
    for kind in (0, 1):  # effective, permitted
        sets[kind] &= ~(1 << 1)
    assert libc.capset(header, sets) == 0


def _run(
    stdout: Path,
    stderr: Path,
    arguments: list[str],
    cwd: Path,
    stdin: Path | None,
    environment: dict[str, str],
    before: Callable[[], object] | None,
) -> None:
    """What Python does with these arguments, in the fork."""
    gc.freeze()  # what was imported before the fork stays shared
    for descriptor, file in enumerate((stdin or Path(os.devnull), stdout, stderr)):
        opened = os.open(file, os.O_APPEND | (os.O_WRONLY if descriptor else os.O_RDONLY))
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.stdin = open(0, closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    if before:
        before()
    kind, *rest = arguments
    start = cwd if kind in ("-m", "-c") else Path(kind).resolve().parent
    folders = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    if start != ROOT or folders:
        for name in [name for name in sys.modules if name.partition(".")[0] in PACKAGES]:
            del sys.modules[name]
    sys.path[:] = [str(start), *folders, *(path for path in sys.path if path and Path(path) != ROOT)]
    sys.argv = rest if kind == "-m" else arguments
    if kind == "-m":
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    else:
        runpy.run_path(kind, run_name="__main__")
