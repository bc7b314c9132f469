"""Rules of the fifth family: classes and their hooks."""

from __future__ import annotations

import dis
import inspect
from collections import Counter
from collections.abc import Iterator
from typing import Any

from jalon.check.reading import per_class
from jalon.check.rule import Said, rule, said
from jalon.check.setup import OWN, Setup, lacked_by, package_of
from jalon.core.callback import Callback
from jalon.core.hooks import HOOKS, is_default
from jalon.errors import suggestion

_FOREIGN = {
    "lightning": "Lightning",
    "pytorch_lightning": "Lightning",
    "transformers": "transformers",
    "fastai": "fastai",
    "xgboost": "XGBoost",
    "composer": "Composer",
    "torchtnt": "torchtnt",
    "skorch": "skorch",
    "catalyst": "Catalyst",
}
_ALIASES = {hook.alias for hook in HOOKS.values() if hook.alias}


@rule("JAL501", "warning", "A hook that this loop never reaches", begins=True)
def never_reached(setup: Setup) -> Iterator[Said]:
    support = setup.support
    if support is None:
        return
    for callback in setup.callbacks:
        missed = support.missed_by(callback)
        if missed:
            remedies = dict.fromkeys(support.lacks[hook] for hook in missed if hook in support.lacks)
            yield said(
                callback,
                f"{type(callback).__name__} overrides {', '.join(missed)}, never reached under {support.loop}.",
                " ".join(remedies) or "Use a hook that is reached.",
                hooks=missed,
                loop=support.loop,
            )


@rule("JAL502", "warning", "A method whose name is nearly that of a hook", begins=True)
def misspelt_hook(setup: Setup) -> Iterator[Said]:
    for callback in setup.own:
        for name, near in _misspelt(type(callback)).items():
            yield said(
                callback,
                f"{setup.label(callback)}.{name} is never called: there is no such hook.",
                f"{near} Rename it, or let its name not begin with 'on_'.".lstrip(),
                method=name,
            )


@rule("JAL503", "warning", "A hook whose `logs` have no default")
def logs_without_default(setup: Setup) -> Iterator[Said]:
    for callback in setup.own:
        bare = [name for name, parameters in _own_hooks(type(callback)).items() if _lacks_default(parameters)]
        if bare:
            yield said(
                callback,
                f"{setup.label(callback)}.{bare[0]} has no default for logs, and loops that give none cannot call it.",
                f"Write {bare[0]}(self, {', '.join([*HOOKS[bare[0]].arguments[:-1], 'logs=None'])}).",
                hooks=bare,
            )


@rule("JAL504", "error", "A hook that cannot take what it is given", begins=True)
def wrong_arguments(setup: Setup) -> Iterator[Said]:
    for callback in setup.own:
        for name, parameters in _own_hooks(type(callback)).items():
            if not _takes(parameters, HOOKS[name].arguments):
                yield said(
                    callback,
                    f"{setup.label(callback)}.{name} cannot take ({', '.join(HOOKS[name].arguments)}), which it is called with.",
                    f"Write {name}(self, {', '.join(_with_default(HOOKS[name].arguments))}).",
                    hook=name,
                )


@rule("JAL505", "error", "A callback of another framework, whose hooks are others")
def of_another_framework(setup: Setup) -> Iterator[Said]:
    for callback in setup.own:
        framework = _foreign_to(type(callback))
        if framework is not None and not callable(getattr(callback, "set_model", None)):
            hooks = [name for name in dir(type(callback)) if name.startswith("on_") and name in vars(type(callback))]
            also = f" with {', '.join(hooks)}" if hooks else ""
            yield said(
                callback,
                f"{type(callback).__name__} is a callback of {framework}{also}, which is not called here.",
                "Derive it from jalon.Callback and give it Keras's hooks.",
                framework=framework,
                hooks=hooks,
            )


@rule("JAL506", "error", "Something that is no callback")
def no_callback(setup: Setup) -> Iterator[Said]:
    for callback in setup.callbacks:
        if isinstance(callback, type):
            name = callback.__name__
            yield said(name, f"{name} is a class, and callbacks are objects.", f"Pass {name}().")
        elif not callable(getattr(callback, "set_model", None)) and _foreign_to(type(callback)) is None:
            yield said(
                type(callback).__name__,
                f"{callback!r} is no callback: it has no set_model.",
                "Derive its class from jalon.Callback, or wrap a function in LambdaCallback(on_epoch_end=...).",
            )


@rule("JAL507", "warning", "The same object twice in the list", begins=True)
def listed_twice(setup: Setup) -> Iterator[Said]:
    counts = Counter(map(id, setup.callbacks))
    for callback in {id(one): one for one in setup.callbacks}.values():
        if counts[id(callback)] > 1:
            yield said(
                callback,
                f"{setup.label(callback)} is {counts[id(callback)]} times in the list, and is told of everything as often.",
                "List it once, or make two objects.",
                times=counts[id(callback)],
            )


@rule("JAL508", "warning", "What a callback has counted is lost at an interruption")
def forgets(setup: Setup) -> Iterator[Said]:
    for callback in setup.own if setup.is_kept else []:
        counted = [name for name, value in vars(callback).items() if name[0] != "_" and _counts(value)]
        stateless = isinstance(callback, Callback) and type(callback).state_dict is Callback.state_dict
        if stateless and counted and _changes(type(callback), counted):
            changed = sorted(_changes(type(callback), counted))
            yield said(
                callback,
                f"{setup.label(callback)} has no state_dict: after a resume, {', '.join(changed)} begin anew.",
                "Return them from state_dict, and take them back in load_state_dict.",
                attributes=changed,
            )


@rule("JAL509", "warning", "A base's constructor that is not called", begins=True)
def base_not_initialised(setup: Setup) -> Iterator[Said]:
    for callback in setup.own:
        lacked = lacked_by(callback)
        if lacked is not None:
            yield said(
                callback,
                f"{setup.label(callback)} has no {lacked}: its __init__ does not call that of the class it derives from.",
                f"Call super().__init__({lacked}=...) in it.",
                attribute=lacked,
            )


@per_class
def _misspelt(kind: type) -> dict[str, str]:
    """Return methods of a class that look like hooks and are none, with the nearest hook, where there is one."""
    known = [*HOOKS, *_ALIASES]
    looks_like = [name for name in dir(kind) if name.lower().lstrip("_").startswith("on_") or name.startswith("onn_")]
    inherited = {name for base in kind.__mro__ if _foreign_to(base) for name in vars(base)}
    wrong = [name for name in looks_like if name not in known and name not in inherited and callable(getattr(kind, name))]
    return {name: near for name in wrong if (near := suggestion(name, known))}


@per_class
def _own_hooks(kind: type) -> dict[str, tuple[inspect.Parameter, ...]]:
    """Return the parameters of the hooks that a class of the user's overrides, without ``self``."""
    hooks = {}
    for name in HOOKS:
        method = getattr(kind, name, None)
        if inspect.isfunction(method) and not is_default(method) and package_of(method) not in OWN:
            hooks[name] = tuple(inspect.signature(method).parameters.values())[1:]
    return hooks


def _takes(parameters: tuple[inspect.Parameter, ...], arguments: tuple[str, ...]) -> bool:
    try:
        inspect.Signature(parameters).bind(*arguments)
    except TypeError:
        return False
    return True


def _lacks_default(parameters: tuple[inspect.Parameter, ...]) -> bool:
    return bool(parameters) and parameters[-1].name == "logs" and parameters[-1].default is inspect.Parameter.empty


def _with_default(arguments: tuple[str, ...]) -> list[str]:
    return [f"{name}=None" if name == "logs" else name for name in arguments]


@per_class
def _foreign_to(kind: type) -> str | None:
    """Return the framework whose callback a class derives from, if it is one of another kind."""
    packages = map(package_of, kind.__mro__)
    return next((_FOREIGN[package] for package in packages if package in _FOREIGN), None)


def _counts(value: Any) -> bool:
    return isinstance(value, (int, float, list, dict, set)) or value is None


@per_class
def _stored(kind: type) -> frozenset[str]:
    """Return the attributes that the hooks of a class set or may change."""
    code = [getattr(getattr(kind, name), "__code__", None) for name in _own_hooks(kind)]
    return frozenset(name for one in code if one is not None for name in _attributes_set(one))


def _attributes_set(code: Any) -> Iterator[str]:
    steps = list(dis.get_instructions(code))
    for step, following in zip(steps, [*steps[1:], steps[-1]], strict=True):
        is_changed = step.opname in ("LOAD_ATTR", "LOAD_METHOD") and following.argval in _CHANGING
        if step.opname == "STORE_ATTR" or is_changed:
            yield step.argval


_CHANGING = frozenset({"append", "extend", "add", "update", "setdefault", "pop", "insert"})


def _changes(kind: type, attributes: list[str]) -> frozenset[str]:
    return _stored(kind) & frozenset(attributes)
