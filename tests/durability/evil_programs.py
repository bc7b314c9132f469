"""``.pt2`` files of a linear layer, by hand, that ask for more than arithmetic."""

from __future__ import annotations

import copy
import json
import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from evil_archives import deflated, entries, zipped
from evil_files import GIANT, PROGRAMS, WEIGHTS_ALONE, Places, evil, weights
from evil_pickles import CALLS, saved

from jalon.engines.torch.pt2.archive import sealed


def tensor_argument(name: str) -> dict[str, Any]:
    return {"as_tensor": {"name": name}}


def meta(*sizes: Any) -> dict[str, Any]:
    numbers = [size if isinstance(size, dict) else {"as_int": size} for size in sizes]
    strides = [{"as_int": int(np.prod(list(sizes[place + 1 :]), dtype=int))} for place in range(len(sizes))]
    return {
        **{"dtype": 7, "sizes": numbers, "requires_grad": False, "device": {"type": "cpu", "index": None}},
        **{"strides": strides, "storage_offset": {"as_int": 0}, "layout": 7},
    }


def node(target: str, inputs: Mapping[str, Any], output: str) -> dict[str, Any]:
    given = [{"name": name, "arg": argument, "kind": 1} for name, argument in inputs.items()]
    return {"target": target, "inputs": given, "outputs": [tensor_argument(output)], "metadata": {}}


LEAF = {"type": None, "context": None, "children_spec": []}
ROWS = {"as_expr": {"expr_str": "Symbol('s77', positive=True, integer=True)", "hint": {"as_int": 2}}}


def spec(structure: Any) -> str:
    return json.dumps([1, structure])


def nested(kind: str, children: list[Any], context: str = "null") -> dict[str, Any]:
    return {"type": kind, "context": context, "children_spec": children}


def model_json() -> dict[str, Any]:
    """Return the description of a linear layer, as torch.export writes it."""
    inputs = ["p_weight", "p_bias", "x"]
    operands = {"input": tensor_argument("x"), "weight": tensor_argument("p_weight"), "bias": tensor_argument("p_bias")}
    graph = {
        **{"inputs": [tensor_argument(name) for name in inputs], "outputs": [tensor_argument("linear")]},
        "nodes": [node("torch.ops.aten.linear.default", operands, "linear")],
        "tensor_values": {
            "p_weight": meta(3, 4),
            "p_bias": meta(3),
            "x": meta(ROWS, 4) | {"strides": [{"as_int": 4}, {"as_int": 1}]},
        },
        **{"sym_int_values": {}, "sym_bool_values": {}, "is_single_tensor_return": False, "custom_obj_values": {}},
    }
    graph["tensor_values"]["linear"] = meta(ROWS, 3) | {"strides": [{"as_int": 3}, {"as_int": 1}]}
    signature = {
        "input_specs": [
            {"parameter": {"arg": {"name": "p_weight"}, "parameter_name": "weight"}},
            {"parameter": {"arg": {"name": "p_bias"}, "parameter_name": "bias"}},
            {"user_input": {"arg": tensor_argument("x")}},
        ],
        "output_specs": [{"user_output": {"arg": tensor_argument("linear")}}],
    }
    called = {
        **{"inputs": [], "outputs": [], "out_spec": spec(LEAF), "forward_arg_names": ["x"]},
        "in_spec": spec(nested("builtins.tuple", [nested("builtins.tuple", [LEAF]), nested("builtins.dict", [], "[]")])),
    }
    return {
        "graph_module": {"graph": graph, "signature": signature, "module_call_graph": [{"fqn": "", "signature": called}]},
        **{"opset_version": {"aten": 10}, "range_constraints": {"s77": {"min_val": 2, "max_val": None}}},
        **{"schema_version": {"major": 8, "minor": 20}, "verifiers": ["TRAINING"], "torch_version": "2.13.0", "guards_code": []},
    }


def payload(name: str, *sizes: int, **changed: Any) -> dict[str, Any]:
    return {"path_name": name, "is_param": True, "use_pickle": False, "tensor_meta": meta(*sizes)} | changed


def program_members() -> dict[str, bytes]:
    """Return the members of a sound ``.pt2`` file of a linear layer."""
    config = {"config": {"weight": payload("weight_0", 3, 4), "bias": payload("weight_1", 3)}}
    return {
        "data/weights/weight_0": weights()["weight"].numpy().tobytes(),
        "data/weights/weight_1": weights()["bias"].numpy().tobytes(),
        "data/weights/model_weights_config.json": json.dumps(config).encode(),
        "data/constants/model_constants_config.json": b'{"config": {}}',
        "models/model.json": json.dumps(model_json()).encode(),
        **{"data/sample_inputs/model.pt": b"", "archive_format": b"pt2", "archive_version": b"0", ".data/version": b"6"},
        "byteorder": b"little",
    }


def write_program(path: Path, members: Mapping[str, bytes], *, note: Any = None) -> None:
    """Write a ``.pt2`` file; with a note, as one of jalon's, whose seal is right."""
    told = {} if note is None else {"extra/jalon.json": json.dumps(note).encode()}
    zipped(path, {f"archive/{name}": content for name, content in {**members, **told}.items()})
    if note is not None:
        path.write_bytes(b"".join(sealed(memoryview(path.read_bytes()))))


def described(change: Callable[[dict[str, Any]], None]) -> dict[str, bytes]:
    """Return the members of a program whose description says something else."""
    description = copy.deepcopy(model_json())
    change(description)
    return program_members() | {"models/model.json": json.dumps(description).encode()}


def weighed(change: Callable[[dict[str, Any]], None], **members: bytes) -> dict[str, bytes]:
    """Return the members of a program whose list of weights says something else."""
    config = json.loads(program_members()["data/weights/model_weights_config.json"])
    change(config["config"])
    return program_members() | {"data/weights/model_weights_config.json": json.dumps(config).encode()} | members


def asks_for(target: str, *texts: str) -> dict[str, bytes]:
    """Return the members of a program that calls something with texts."""
    called = node(target, {f"text{place}": {"as_string": text} for place, text in enumerate(texts)}, "linear")
    return described(lambda description: description["graph_module"]["graph"].update(nodes=[called]))


def renamed(old: str, new: str) -> dict[str, bytes]:
    """Return the members of a program in whose description a text is another."""
    content = json.dumps(model_json()).replace(json.dumps(old), json.dumps(new))
    return program_members() | {"models/model.json": content.encode()}


TARGETS: dict[str, Callable[[Places], tuple[str, ...]]] = {
    "system": lambda places: ("torch.os.system", places.command),
    "import": lambda _: ("torch.importlib.import_module", "antigravity"),
    "torch_load": lambda places: ("torch.load", str(places.outside / "weights.h5")),
    "torch_save": lambda places: ("torch.ops.aten.save.default", "x", str(places.canary)),
    "from_file": lambda places: ("torch.ops.aten.from_file.default", str(places.canary)),
    "load_library": lambda places: ("torch.ops.load_library", str(places.canary)),
    "eval": lambda places: ("torch.serialization.builtins.eval", places.code),
    "getter": lambda places: ("_operator.methodcaller", "system"),
    "higher_order": lambda _: ("torch.ops.higher_order.cond", "x"),
    "extension": lambda _: ("#evil:op", "x"),
}
for case_name, make_target in TARGETS.items():

    @evil(f"target_{case_name}.pt2", read_by=WEIGHTS_ALONE)
    def _(path: Path, places: Places, make: Callable[[Places], tuple[str, ...]] = make_target) -> None:
        write_program(path, asks_for(*make(places)))


@evil("sample_inputs.pt2", read_by=PROGRAMS)
def _(path: Path, places: Places) -> None:
    write_program(path, program_members() | {"data/sample_inputs/model.pt": saved((CALLS["system"](places), {}))})


@evil("sealed_sample_inputs.pt2", read_by=PROGRAMS)
def _(path: Path, places: Places) -> None:
    members = program_members() | {"data/sample_inputs/model.pt": pickle.dumps(CALLS["system"](places))}
    write_program(path, members, note={"format": 1, "about": {}, "weights": ["weight", "bias"]})


@evil("guards.pt2", read_by=WEIGHTS_ALONE)
def _(path: Path, places: Places) -> None:
    write_program(path, described(lambda description: description["guards_code"].append(f"exec({places.code!r})")))


@evil("symbol.pt2", read_by=PROGRAMS)
def _(path: Path, places: Places) -> None:
    write_program(path, renamed(ROWS["as_expr"]["expr_str"], f"exec({places.code!r})"))  # type: ignore[arg-type]


@evil("metadata.pt2", read_by=PROGRAMS)
def _(path: Path, places: Places) -> None:
    def change(description: dict[str, Any]) -> None:
        told = {"source_fn_stack": "x,os.system", "stack_trace": f'"""\n{places.code}', "torch_fn": f"x;{places.code}"}
        description["graph_module"]["graph"]["nodes"][0]["metadata"] = told

    write_program(path, described(change))


@evil("names.pt2", read_by=PROGRAMS)
def _(path: Path, places: Places) -> None:
    write_program(path, renamed("x", f"x={places.code}"))


@evil("enum.pt2", read_by=WEIGHTS_ALONE)
def _(path: Path, places: Places) -> None:
    context = json.dumps([{"__enum__": True, "fqn": "antigravity:x", "name": "x"}])
    structure = nested("builtins.tuple", [nested("builtins.tuple", [LEAF]), nested("builtins.dict", [], context)])
    write_program(
        path, described(lambda one: one["graph_module"]["module_call_graph"][0]["signature"].update(in_spec=spec(structure)))
    )


@evil("factory.pt2", read_by=WEIGHTS_ALONE)
def _(path: Path, places: Places) -> None:
    context = json.dumps({"default_factory_module": "antigravity", "default_factory_name": "fly", "dict_context": []})
    structure = nested("collections.defaultdict", [LEAF], context)
    write_program(
        path, described(lambda one: one["graph_module"]["module_call_graph"][0]["signature"].update(out_spec=spec(structure)))
    )


@evil("deep_structure.pt2", read_by=WEIGHTS_ALONE)
def _(path: Path, places: Places) -> None:
    structure = '{"type": "builtins.tuple", "context": "null", "children_spec": [' * 50_000 + "]}" * 50_000
    write_program(
        path, described(lambda one: one["graph_module"]["module_call_graph"][0]["signature"].update(in_spec=f"[1, {structure}]"))
    )


@evil("pickled_weight.pt2")
def _(path: Path, places: Places) -> None:
    content = {"data/weights/weight_1": saved(CALLS["system"](places))}
    write_program(path, weighed(lambda config: config["bias"].update(use_pickle=True)) | content)


@evil("pickled_weights.pt2")
def _(path: Path, places: Places) -> None:
    members = program_members()
    del members["data/weights/model_weights_config.json"]
    write_program(path, members | {"data/weights/model.pt": saved(CALLS["system"](places))})


for object_name in ("custom_obj_0", "opaque_obj_0"):

    @evil(f"{object_name}.pt2", read_by=WEIGHTS_ALONE)
    def _(path: Path, places: Places, named: str = object_name) -> None:
        config = {"config": {"thing": payload(named, use_pickle=True, is_param=False, tensor_meta=None)}}
        members = program_members() | {"data/constants/model_constants_config.json": json.dumps(config).encode()}
        write_program(path, members | {f"data/constants/{named}": pickle.dumps(CALLS["system"](places))})


@evil("old_format.pt2")
def _(path: Path, places: Places) -> None:
    content = saved(CALLS["system"](places))
    names = ("serialized_state_dict.pt", "serialized_constants.pt", "serialized_example_inputs.pt")
    zipped(path, {"version": b"8.20", "serialized_exported_program.json": b"{}"} | dict.fromkeys(names, content))


@evil("compiled.pt2")
def _(path: Path, places: Places) -> None:
    write_program(path, program_members() | {"data/aotinductor/model/evil.wrapper.so": b"\x7fELF"})


@evil("climbing_weight.pt2")
def _(path: Path, places: Places) -> None:
    write_program(path, weighed(lambda config: config["bias"].update(path_name="../../../outside/victim.txt")))


@evil("climbing_member.pt2")
def _(path: Path, places: Places) -> None:
    write_program(path, program_members() | {"../../escaped.txt": b"x"})


@evil("repeated_weight.pt2")
def _(path: Path, places: Places) -> None:
    giant = meta(GIANT) | {"strides": [{"as_int": 0}]}
    write_program(path, weighed(lambda config: config["weight"].update(tensor_meta=giant)))


@evil("beyond_its_bytes.pt2")
def _(path: Path, places: Places) -> None:
    beyond = meta(3) | {"storage_offset": {"as_int": 1 << 40}}
    write_program(path, weighed(lambda config: config["bias"].update(tensor_meta=beyond)))


@evil("negative_sizes.pt2")
def _(path: Path, places: Places) -> None:
    write_program(path, weighed(lambda config: config["bias"].update(tensor_meta=meta(-3, -1))))


@evil("deep_weight.pt2", read_by={"program.read"})
def _(path: Path, places: Places) -> None:
    write_program(path, weighed(lambda config: config.update({"a." * 20_000 + "a": payload("weight_1", 3)})))


@evil("method.pt2", read_by={"program.read"})
def _(path: Path, places: Places) -> None:
    write_program(
        path, weighed(lambda config: config.update({"forward": payload("weight_1", 3), "__class__": payload("weight_1", 3)}))
    )


@evil("bomb.pt2")
def _(path: Path, places: Places) -> None:
    write_program(path, program_members())
    deflated(path, "weight_0")


@evil("twice.pt2")
def _(path: Path, places: Places) -> None:
    write_program(path, program_members())
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("archive/models/model.json", b"{}")


@evil("over_one_another.pt2")
def _(path: Path, places: Places) -> None:
    write_program(
        path,
        program_members() | {f"data/weights/weight_{number + 2}": b"x" for number in range(500)} | {"data/x": bytes(1 << 20)},
    )
    data = bytearray(path.read_bytes())
    giant = next(place for place, name in entries(data) if name == b"archive/data/x")
    for place, name in entries(data):
        if name.startswith(b"archive/data/weights/weight_") and name[-1:].isdigit() and int(name.rpartition(b"_")[2]) > 1:
            data[place + 16 : place + 28] = data[giant + 16 : giant + 28]
            data[place + 42 : place + 46] = data[giant + 42 : giant + 46]
    path.write_bytes(data)
