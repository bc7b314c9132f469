"""Projector: the files from which TensorBoard's projector shows embeddings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jalon.core.trainer import Embedding
from jalon.store import atomic

ROWS = 100_000
"""How many rows of a table are written: more TensorBoard does not load."""
CONFIG = "projector_config.pbtxt"
"""The file that TensorBoard looks for in a run's folder."""
_TENSOR_OF_KERAS = "layer_with_weights-0/embeddings/.ATTRIBUTES/VARIABLE_VALUE"


class Projector:
    """Writes embedding tables as text, with what TensorBoard needs to find them.

    TensorBoard reads nothing from outside the folder of the configuration; therefore the metadata are copied there.

    Args:
        log_dir: Against which the paths of metadata are read.
        embeddings: The layers.
        metadata: A file of labels for each layer that has one.
    """

    def __init__(self, log_dir: Path, embeddings: Sequence[Embedding], metadata: Mapping[str, str]) -> None:
        self._log_dir = log_dir
        self._folder = log_dir / "train"
        self._embeddings = embeddings
        self._metadata = metadata

    def write(self, weights: Iterable[tuple[str, Any]]) -> None:
        """Write tables, metadata and configuration, each whole or not at all.

        Args:
            weights: Every weight's name and values.
        """
        wanted = {embedding.weight: embedding for embedding in self._embeddings}
        entries = []
        for name, values in weights:
            if name in wanted and getattr(values, "ndim", 0) == 2:
                table = Path("embeddings", name.replace("/", ".") + ".tsv")
                atomic.write_bytes(self._folder / table, _rows(values[:ROWS]))
                labels = self._labels(wanted.pop(name).layer, table.with_suffix(".metadata.tsv"))
                entries.append(_entry(tensor_name=name, metadata_path=labels, tensor_path=table.as_posix()))
        # Last, since TensorBoard reads the configuration once, and the tables with it.
        atomic.write_bytes(self._folder / CONFIG, [entry.encode() for entry in entries])

    def write_as_keras(self) -> None:
        """Write the configuration that Keras writes, whose tables are in checkpoints of TensorFlow's."""
        entries = (
            _entry(tensor_name=_TENSOR_OF_KERAS, metadata_path=self._metadata.get(embedding.layer))
            for embedding in self._embeddings
        )
        atomic.write_bytes(self._log_dir / CONFIG, [entry.encode() for entry in entries])

    def _labels(self, layer: str, copy: Path) -> str | None:
        """Return where a layer's labels are, seen from the configuration."""
        if layer not in self._metadata:
            return None
        original = self._log_dir / self._metadata[layer]
        if not original.is_file():
            return None
        atomic.write_bytes(self._folder / copy, [original.read_bytes()])
        return copy.as_posix()


def _rows(table: Any) -> Iterator[bytes]:
    row = "\t".join(["%.9g"] * table.shape[1]) + "\n"
    for values in table:
        yield (row % tuple(values.tolist())).encode()


def _entry(**fields: str | None) -> str:
    """Return one embedding in protobuf's text format, where strings are written as in JSON."""
    lines = (f"  {name}: {json.dumps(value, ensure_ascii=False)}\n" for name, value in fields.items() if value is not None)
    return f"embeddings {{\n{''.join(lines)}}}\n"
