"""The arrays in a folder of Orbax's, read through before Orbax reads them."""

from __future__ import annotations

from pathlib import Path

from jalon._optional import require
from jalon.errors import CheckpointError

_DRIVERS = {"zarr.json": "zarr3", ".zarray": "zarr"}  # by the file that describes an array


def check_arrays(save: Path) -> None:
    """Read every array of a save's tree and let go of it, one after another, so that its checksums are checked.

    Orbax reads them all at once. It leaves off at the first that is damaged and closes its event loop, and each that is still
    being read then prints an error on stderr that belongs to no caller.

    Args:
        save: The folder of one save.

    Raises:
        MissingPackage: ``tensorstore``, which comes with ``orbax-checkpoint``, is not installed.
        CheckpointError: An array is damaged, or the database that holds them.
    """
    tensorstore = require("tensorstore", extra="orbax", who=f"Reading {save}")
    tree = save.absolute() / "pytree"
    if not (tree / "manifest.ocdbt").is_file():
        return
    store = {"driver": "ocdbt", "base": f"file://{tree}/"}
    where = "its database"
    try:
        for key in tensorstore.KvStore.open(store).result().list().result():
            name, _, described_by = key.decode().rpartition("/")
            if described_by in _DRIVERS:
                where = name
                spec = {"driver": _DRIVERS[described_by], "kvstore": store | {"path": f"{name}/"}}
                tensorstore.open(spec, read=True).result().read().result()
    except Exception as exc:
        first_line = (str(exc).strip().splitlines() or [""])[0]
        raise CheckpointError(f"{save.absolute()} is damaged in {where} ({type(exc).__name__}: {first_line}).") from exc
