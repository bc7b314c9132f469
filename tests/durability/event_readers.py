"""TensorBoard's readers, attached to a folder of logs while it is written: those in Python, and the data server.

Each ``points()`` reads what there is to read by now, and returns it by folder, tag and step.
"""

from __future__ import annotations

import importlib.util
import json
import os
import select
import signal
import subprocess
import sys
import types
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Points = dict[str, dict[str, list[list[float]]]]
"""By folder and tag, each point's step and value; of what is no scalar, the step alone. A tag without points is left out."""

_EVERY_KIND = dict.fromkeys(("scalars", "histograms", "images", "tensors", "audio", "compressedHistograms"), 0)


class LiveReader(ABC):
    """Is a process that stays attached to a folder.

    Args:
        folder: The folder of logs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process = self._start()

    def __enter__(self) -> LiveReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.communicate()

    @abstractmethod
    def _start(self) -> subprocess.Popen[str]: ...

    @abstractmethod
    def points(self, within: str = ".") -> Points:
        """Read what there is, and return every point.

        Args:
            within: A folder in the one attached to; to this the names of folders are relative. It stays attached to.
        """


class _PythonReader(LiveReader):
    tensorflow = False
    accumulates = ""

    def _start(self) -> subprocess.Popen[str]:
        command = [sys.executable, __file__, self.accumulates, str(self.folder), *(["tensorflow"] if self.tensorflow else [])]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)

    def points(self, within: str = ".") -> Points:
        said, heard = self._process.stdin, self._process.stdout
        assert said is not None
        assert heard is not None
        said.write(f"{within}\n")
        said.flush()
        points: Points = json.loads(heard.readline())
        return points


class PythonReader(_PythonReader):
    """Reads as TensorBoard does without its data server, where TensorFlow is not installed."""

    accumulates = "multiplexer"


class PythonReaderOnTensorFlow(PythonReader):
    """Reads as TensorBoard does without its data server, where TensorFlow is installed."""

    tensorflow = True


class Accumulator(_PythonReader):
    """Reads as scripts and other tools do: with ``EventAccumulator``."""

    accumulates = "accumulator"


class FileByFile(_PythonReader):
    """Reads as tools do that open each file by itself, every time anew."""

    accumulates = "file_by_file"


class DataServer(LiveReader):
    """Reads as TensorBoard does by default: with its data server, which is written in Rust."""

    def _start(self) -> subprocess.Popen[str]:
        from tensorboard_data_server import server_binary

        process = subprocess.Popen(
            [
                server_binary(),
                f"--logdir={self.folder}",
                "--host=127.0.0.1",
                "--port=0",
                "--reload=0",
                "--verbose",
                "--die-after-stdin",
                "--samples-per-plugin=scalars=all,histograms=all,images=all,graphs=all",
            ],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        line = ""
        while "listening on" not in line:
            line = process.stderr.readline()
        self._address = line.split()[-1]
        return process

    def points(self, within: str = ".") -> Points:
        from grpc import insecure_channel
        from tensorboard.data.grpc_provider import GrpcDataProvider, make_stub

        self._process.send_signal(signal.SIGCONT)
        self._load()
        with insecure_channel(self._address) as channel:
            data = GrpcDataProvider(self._address, make_stub(channel))
            scalars = data.read_scalars(None, experiment_id="", plugin_name="scalars", downsample=10**6)
            tensors = data.read_tensors(None, experiment_id="", plugin_name="histograms", downsample=10**6)
        self._process.send_signal(signal.SIGSTOP)  # it loads without a pause
        found: Points = {}
        for folder, tags in scalars.items():
            found[folder] = {tag: [[datum.step, datum.value] for datum in data] for tag, data in tags.items()}
        for folder, tags in tensors.items():
            found.setdefault(folder, {}).update((tag, [[datum.step] for datum in data]) for tag, data in tags.items())
        return {
            str(Path(folder).relative_to(within)): tags for folder, tags in found.items() if Path(folder).is_relative_to(within)
        }

    def _load(self) -> None:
        """Wait until a load has begun after now, and ended."""
        assert self._process.stderr is not None
        told = self._process.stderr.fileno()
        while select.select([told], [], [], 0)[0]:  # of loads that are over
            os.read(told, 1 << 16)
        for what in (b"Starting load cycle", b"Finished load cycle"):
            heard = b""
            while what not in heard:
                heard += os.read(told, 1) or b"it has ended" + what


def why_not(reader: type[LiveReader]) -> str | None:
    """Return why a reader cannot be had here, or ``None`` where it can."""
    needed = {PythonReaderOnTensorFlow: "tensorflow", DataServer: "tensorboard_data_server"}.get(reader)
    if needed is None or importlib.util.find_spec(needed):
        return None
    return f"needs {needed}"


READERS: tuple[type[LiveReader], ...] = (PythonReader, PythonReaderOnTensorFlow, Accumulator, FileByFile, DataServer)


# ---- the process of a reader in Python -----------------------------------------------------------------------------------------


def accumulator(folder: Path) -> Callable[[], Points]:
    """Return what reads with an ``EventAccumulator`` for each folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    attached: dict[str, Any] = {}

    def points() -> Points:
        for place in sorted({path.parent for path in folder.rglob("*tfevents*")}):
            attached.setdefault(str(place.relative_to(folder)), EventAccumulator(str(place), size_guidance=_EVERY_KIND))
        for one in attached.values():
            one.Reload()
        return {name: dict(_of_accumulator(one)) for name, one in attached.items()}

    return points


def _of_accumulator(one: Any) -> Iterable[tuple[str, Any]]:
    for tag in one.Tags()["scalars"]:
        if values := [[event.step, event.value] for event in one.Scalars(tag)]:
            yield tag, values
    for tag in one.Tags()["histograms"]:
        if values := [[event.step] for event in one.Histograms(tag)]:
            yield tag, values


def file_by_file(folder: Path) -> Callable[[], Points]:
    """Return what reads each file with an ``EventAccumulator`` of its own."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def points() -> Points:
        found: Points = {}
        for path in sorted(folder.rglob("*tfevents*")):
            tags = found.setdefault(str(path.parent.relative_to(folder)), {})
            for tag, values in _of_accumulator(EventAccumulator(str(path), size_guidance=_EVERY_KIND).Reload()):
                tags.setdefault(tag, []).extend(values)
        return found

    return points


def multiplexer(folder: Path) -> Callable[[], Points]:
    """Return what reads as TensorBoard's own loader does."""
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.util.tensor_util import make_ndarray

    runs = EventMultiplexer(size_guidance=_EVERY_KIND)

    def value(event: Any) -> list[float]:
        array = make_ndarray(event.tensor_proto)
        return [event.step, *([array.item()] if array.ndim == 0 else [])]

    def points() -> Points:
        runs.AddRunsFromDirectory(str(folder))
        runs.Reload()
        return {
            name: {
                tag: values
                for plugin in ("scalars", "histograms")
                for tag in tags_of(name, plugin)
                if (values := [value(event) for event in runs.Tensors(name, tag)])
            }
            for name in runs.Runs()
        }

    def tags_of(name: str, plugin: str) -> Iterable[str]:
        try:
            return runs.PluginRunToTagToContent(plugin).get(name, {})
        except KeyError:
            return ()

    return points


def main(accumulates: str, folder: str, *on: str) -> None:
    """Answer each line on stdin, the name of a folder, with the points in it as JSON."""
    if "tensorflow" not in on:
        sys.modules["tensorboard.compat.notf"] = types.ModuleType("notf")  # TensorBoard's own switch
    attach = {"accumulator": accumulator, "file_by_file": file_by_file, "multiplexer": multiplexer}[accumulates]
    attached: dict[str, Callable[[], Points]] = {}
    for line in sys.stdin:
        within = line.rstrip("\n")
        if within not in attached:
            attached[within] = attach(Path(folder, within))
        sys.stdout.write(json.dumps(attached[within]()) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
