import copy
import functools
import json
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim import lr_scheduler

from jalon.engines.torch.optimizers import KERAS, TORCH, LearningRate, Optimizer, build_optimizer, check_optimizer_name
from jalon.errors import ArgumentError, CheckpointMismatch, UnknownName


def weights(count=2):
    return [nn.Parameter(torch.linspace(-1, 1, 6).view(2, 3) + i) for i in range(count)]


def give_gradients(parameters, step):
    for i, parameter in enumerate(parameters):
        parameter.grad = torch.sin(torch.arange(6.0).view(2, 3) + step + i) + 1.5


# ---- Keras's algorithms ----------------------------------------------------------------------------------------------


def keras_step(name, w, g, t, s):
    """Change ``w`` as Keras's documentation says, with Keras's defaults; ``s`` holds what is kept between steps."""
    rate, eps = 0.001, 1e-7
    m, v = s.setdefault("m", np.zeros_like(w)), s.setdefault("v", np.zeros_like(w))
    if name == "sgd":
        return w - 0.01 * g
    if name == "rmsprop":
        s["v"] = 0.9 * v + 0.1 * g**2
        return w - rate * g / np.sqrt(s["v"] + eps)
    if name == "adagrad":
        s["v"] = (v if t > 1 else v + 0.1) + g**2
        return w - rate * g / np.sqrt(s["v"] + eps)
    if name == "adadelta":
        s["v"] = 0.95 * v + 0.05 * g**2
        change = -np.sqrt(m + eps) / np.sqrt(s["v"] + eps) * g
        s["m"] = 0.95 * m + 0.05 * change**2
        return w + rate * change
    s["m"] = m = 0.9 * m + 0.1 * g
    if name == "adamax":
        s["v"] = np.maximum(0.999 * v, np.abs(g))
        return w - rate * m / ((1 - 0.9**t) * (s["v"] + eps))
    s["v"] = v = 0.999 * v + 0.001 * g**2
    if name == "nadam":
        u, following = 0.9 * (1 - 0.5 * 0.96**t), 0.9 * (1 - 0.5 * 0.96 ** (t + 1))
        product = s["product"] = s.get("product", 1.0) * u
        ahead = following * m / (1 - product * following) + (1 - u) * g / (1 - product)
        return w - rate * ahead / (np.sqrt(v / (1 - 0.999**t)) + eps)
    if name == "adamw":
        w = w - w * 0.004 * rate
    return w - rate * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (np.sqrt(v) + eps)


@pytest.mark.parametrize("name", sorted(set(KERAS) - {"adafactor"}))
def test_keras_names_take_keras_s_steps(name):
    """By Keras's name, ten steps lead where Keras's formula and defaults lead."""
    parameters = weights()
    optimizer = build_optimizer(name, parameters)
    expected, kept = [p.detach().double().numpy().copy() for p in parameters], [{}, {}]

    for step in range(10):
        give_gradients(parameters, step)
        for i, p in enumerate(parameters):
            expected[i] = keras_step(name, expected[i], p.grad.double().numpy(), step + 1, kept[i])
        optimizer.step()

    for parameter, wanted, start in zip(parameters, expected, weights(), strict=True):
        moved = (wanted - start.detach().numpy()).astype(np.float32)
        np.testing.assert_allclose((parameter - start).detach().numpy(), moved, rtol=2e-3, atol=3e-7)


def test_adafactor_has_keras_s_rate():
    """Keras's Adafactor starts from a rate of 0.001."""
    assert 0.001 == build_optimizer("adafactor", weights()).param_groups[0]["lr"]


@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("adam", torch.optim.Adam, {"lr": 0.001, "eps": 1e-7}),
        ("ADAM", torch.optim.Adam, {"lr": 0.001, "eps": 1e-7}),
        ("Adam", torch.optim.Adam, {"lr": 0.001, "eps": 1e-8}),
        ("rmsprop", torch.optim.RMSprop, {"lr": 0.001, "alpha": 0.9}),
        ("RMSProp", torch.optim.RMSprop, {"lr": 0.001, "alpha": 0.9}),
        ("RMSprop", torch.optim.RMSprop, {"lr": 0.01, "alpha": 0.99}),
        ("sgd", torch.optim.SGD, {"lr": 0.01}),
        ("SGD", torch.optim.SGD, {"lr": 0.001}),
        ("Nadam", torch.optim.NAdam, {"lr": 0.001, "momentum_decay": 1.0}),
        ("NAdam", torch.optim.NAdam, {"lr": 0.002, "momentum_decay": 0.004}),
        ("radam", torch.optim.RAdam, {"lr": 0.001, "eps": 1e-8}),
    ],
)
def test_the_spelling_says_whose_defaults(name, kind, options):
    """Spelled as torch's class a name has torch's defaults, in any other case Keras's where Keras has one."""
    optimizer = build_optimizer(name, weights())

    assert type(optimizer) is kind
    assert options == {key: optimizer.param_groups[0][key] for key in options}


@pytest.mark.parametrize("name", sorted(set(TORCH) - {"LBFGS"}))
def test_torch_names_have_torch_s_defaults(name):
    """By torch's class name the optimizer is what the bare class makes, but for being fused."""
    built, bare = build_optimizer(name, weights()), TORCH[name](weights())

    assert {**bare.defaults, "fused": None} == {**built.defaults, "fused": None}


@pytest.mark.parametrize("name", ["adam", "Adam", "adamw", "sgd", "adagrad"])
def test_names_take_the_fused_implementation(name):
    """By name the fused implementation is taken where the device has it."""
    assert build_optimizer(name, weights()).param_groups[0]["fused"]


def test_weights_that_cannot_be_fused_are_no_error():
    """Where torch refuses to fuse, as for complex numbers or on another device, the plain implementation is made."""
    for refused in (torch.zeros(2, dtype=torch.complex64), torch.zeros(2, device="meta")):
        optimizer = build_optimizer("adagrad", [nn.Parameter(refused)])

        assert not optimizer.param_groups[0]["fused"]


def test_classes_functions_and_objects():
    """A class, a function of the parameters and an object are taken as they are."""
    parameters = weights()
    ready = torch.optim.SGD(parameters[:1], lr=0.3)

    assert type(build_optimizer(torch.optim.Adam, parameters)) is torch.optim.Adam
    assert 0.5 == build_optimizer(functools.partial(torch.optim.SGD, lr=0.5), parameters).param_groups[0]["lr"]
    assert 2 == len(build_optimizer(lambda p: torch.optim.SGD([{"params": [x]} for x in p]), parameters).param_groups)
    assert ready is build_optimizer(ready, parameters)
    assert ready is build_optimizer(Optimizer(ready), iter(parameters))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (torch.optim.SGD(weights(), lr=0.1), "2 of the 2 parameters of the SGD are not this model's"),
        (lambda parameters: None, "must take the parameters and return a torch optimizer. It returned: None"),
        (lambda parameters: torch.optim.SGD(weights()), "are not this model's"),
        (lambda: None, "could not make an optimizer"),
        ("LBFGS", "evaluates the model several times a step"),
        (torch.optim.LBFGS, "evaluates the model several times a step"),
        (0.1, "optimizer must be a name, a class, a function or an object. Received: 0.1"),
        (None, "Received: None"),
    ],
)
def test_what_cannot_train_this_model_is_refused(spec, message):
    """Another model's optimizer, a function that makes none and things that are none are errors that say so."""
    with pytest.raises(ArgumentError) as caught:
        build_optimizer(spec, weights())

    assert message in str(caught.value)


def test_a_model_without_weights_cannot_be_trained():
    """No parameters are an error of the argument, whatever the optimizer."""
    with pytest.raises(ArgumentError, match="optimizer got an empty parameter list"):
        build_optimizer("adam", [])


@pytest.mark.parametrize(("name", "nearest"), [("adm", "adam"), ("rms_prop", "rmsprop"), ("RMSpropp", "rmsprop")])
def test_an_unknown_name_brings_the_nearest_optimizer(name, nearest):
    """A typo is an error at compile time that suggests the nearest optimizer."""
    with pytest.raises(UnknownName, match=f"Model.compile: unknown optimizer '{name}'. Did you mean '{nearest}'?"):
        check_optimizer_name(name, "Model.compile")
    for known in ("adam", "Adam", torch.optim.Adam, torch.optim.SGD(weights())):
        check_optimizer_name(known, "Model.compile")


# ---- the rate --------------------------------------------------------------------------------------------------------


def groups(*rates):
    """Return a face over an optimizer with one parameter group per rate."""
    return Optimizer(torch.optim.SGD([{"params": [p], "lr": r} for p, r in zip(weights(len(rates)), rates, strict=True)]))


def test_the_rate_is_what_keras_code_expects():
    """Keras code reads, scales, assigns and prints the rate."""
    optimizer = groups(0.1)

    assert 0.1 == float(optimizer.learning_rate) == optimizer.lr
    assert np.float64(0.1) == optimizer.learning_rate.numpy()
    assert 0.05 == optimizer.learning_rate * 0.5
    assert "0.1" == str(optimizer.lr) == json.dumps(optimizer.lr)
    optimizer.learning_rate.assign(0.2)
    assert [0.2] == optimizer.rates()
    optimizer.lr = np.float32(0.5)
    assert [0.5] == optimizer.rates()
    optimizer.learning_rate = 0.25
    assert [0.25] == [group["lr"] for group in optimizer.param_groups]


def test_a_copied_rate_is_a_plain_number():
    """A rate kept in logs takes no optimizer with it when it is copied."""
    rate = groups(0.1).learning_rate

    assert isinstance(rate, LearningRate)
    assert type(copy.deepcopy(rate)) is float
    assert 0.1 == copy.deepcopy(rate)


@settings(deadline=None)
@given(rates=st.lists(st.floats(1e-6, 1), min_size=1, max_size=4), value=st.floats(1e-6, 1))
def test_groups_keep_their_ratios(rates, value):
    """Setting the rate sets it for the first group, and for the others in proportion."""
    optimizer = groups(*rates)
    optimizer.learning_rate = value

    assert value == optimizer.rates()[0]
    np.testing.assert_allclose(optimizer.rates(), [value * rate / rates[0] for rate in rates], rtol=1e-12)


def test_a_rate_of_zero_has_no_ratios():
    """From 0, as in a warm-up, every group gets the rate that is set."""
    optimizer = groups(0.0, 0.5)
    optimizer.learning_rate = 0.1

    assert [0.1, 0.1] == optimizer.rates()


@pytest.mark.parametrize("rates", [[0.1], [0.1, 0.2, 0.3], [0.1, -0.1], [0.1, math.nan], [0.1, math.inf]])
def test_rates_that_are_none_are_refused(rates):
    """One rate per group, finite and not negative; else nothing is changed."""
    optimizer = groups(0.1, 0.2)

    with pytest.raises(ArgumentError):
        optimizer.set_rates(rates)
    assert [0.1, 0.2] == optimizer.rates()


def test_a_rate_on_the_device_stays_there():
    """A rate that torch keeps as a tensor is changed in place."""
    rate = torch.tensor(0.5)
    optimizer = Optimizer(torch.optim.Adam(weights(), lr=rate, foreach=False, capturable=False))
    optimizer.learning_rate = 0.25

    assert 0.25 == rate.item() == optimizer.learning_rate


# ---- a scheduler -----------------------------------------------------------------------------------------------------

SCHEDULES = {
    "step": lambda o: lr_scheduler.StepLR(o, 2, gamma=0.5),
    "exponential": lambda o: lr_scheduler.ExponentialLR(o, 0.9),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, 9),
    "cosine restarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 3),
    "linear": lambda o: lr_scheduler.LinearLR(o, 0.1, total_iters=5),
    "one cycle": lambda o: lr_scheduler.OneCycleLR(o, 0.3, total_steps=12, cycle_momentum=False),
    "lambda": lambda o: lr_scheduler.LambdaLR(o, lambda step: 1 / (1 + step)),
    "multiplicative": lambda o: lr_scheduler.MultiplicativeLR(o, lambda step: 0.8),
    "cyclic": lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.1, step_size_up=2, cycle_momentum=False),
    "sequential": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.ConstantLR(o, 0.1, 2), lr_scheduler.ExponentialLR(o, 0.9)], milestones=[2]
    ),
}


def scheduled(name, *rates):
    optimizer = groups(*rates)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch's own SequentialLR
        optimizer.attach_scheduler(SCHEDULES[name])
    return optimizer


def advance(optimizer):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch's own SequentialLR
        optimizer.step()
        optimizer.step_scheduler()
    return optimizer.rates()


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_change_is_a_multiplier_on_the_schedule(name):
    """A rate halved by a callback stays half of what the scheduler says, whatever the scheduler reckons from."""
    plain, changed = scheduled(name, 0.1, 0.2), scheduled(name, 0.1, 0.2)

    for step in range(10):
        if step in (3, 6):
            changed.learning_rate = changed.learning_rate * 0.5
        by = 1.0 if step < 3 else 0.5 if step < 6 else 0.25
        np.testing.assert_allclose(changed.rates(), np.multiply(plain.rates(), by), rtol=1e-12)
        advance(plain)
        advance(changed)


def test_a_schedule_left_alone_is_torch_s():
    """Without a change the rates are torch's bit for bit."""
    optimizer, bare = scheduled("cosine", 0.1), torch.optim.SGD(weights(1), lr=0.1)
    schedule = SCHEDULES["cosine"](bare)

    for _ in range(8):
        bare.step()
        schedule.step()
        assert [bare.param_groups[0]["lr"]] == advance(optimizer)


def test_groups_have_their_own_multipliers():
    """A rate can be changed in one group alone."""
    optimizer = scheduled("exponential", 0.1, 0.1)
    optimizer.set_rates([0.1, 0.01])

    np.testing.assert_allclose(advance(optimizer), [0.09, 0.009])


def test_a_schedule_that_starts_at_zero():
    """While the schedule is at 0, a rate that is set holds till the next step and multiplies nothing."""
    optimizer = groups(0.1)
    optimizer.attach_scheduler(lambda o: lr_scheduler.LambdaLR(o, lambda step: step / 4))

    optimizer.learning_rate = 0.3
    assert [0.3] == optimizer.rates()
    np.testing.assert_allclose(advance(optimizer), [0.025])


def test_torch_s_plateau_watches_a_metric():
    """Torch's ReduceLROnPlateau is given the metric, and says what is wrong where there is none."""
    optimizer = groups(0.1)
    optimizer.attach_scheduler(functools.partial(lr_scheduler.ReduceLROnPlateau, factor=0.5, patience=0))
    optimizer.learning_rate = 0.08

    for metric, expected in ((1.0, 0.08), (2.0, 0.04), (0.5, 0.04)):
        optimizer.step_scheduler(metric)
        np.testing.assert_allclose(optimizer.rates(), [expected])
    with pytest.raises(ArgumentError, match="watches a metric"):
        optimizer.step_scheduler()


def test_who_says_the_rate():
    """A scheduler owns the rate from when it is attached; without one, stepping it does nothing."""
    optimizer = groups(0.1)
    optimizer.step_scheduler()

    assert not optimizer.owns_rate
    assert [0.1] == optimizer.rates()
    optimizer.attach_scheduler(lr_scheduler.StepLR(optimizer.torch, 1))
    assert optimizer.owns_rate


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        (lr_scheduler.StepLR(torch.optim.SGD(weights()), 1), "The StepLR belongs to another optimizer"),
        (lambda optimizer: None, "scheduler must be a torch learning-rate scheduler or a function"),
        ("cosine", "Received: 'cosine'"),
    ],
)
def test_a_scheduler_that_cannot_be_is_refused(scheduler, message):
    """Another optimizer's scheduler and things that are none are errors that say so."""
    with pytest.raises(ArgumentError, match=message):
        groups(0.1).attach_scheduler(scheduler)


# ---- steps and state -------------------------------------------------------------------------------------------------


def test_steps_are_counted_and_announced():
    """Each step changes the weights once, is counted, and is announced with the number of those before it."""
    parameters = weights(1)
    optimizer, told = Optimizer(torch.optim.SGD(parameters, lr=1.0)), []
    optimizer.before_step = told.append
    for step in range(3):
        give_gradients(parameters, step)
        before = parameters[0].detach().clone()

        assert optimizer.step()
        torch.testing.assert_close(before - parameters[0].grad, parameters[0].detach())

    assert (3, [0, 1, 2]) == (optimizer.iterations, told)
    optimizer.zero_grad()
    assert parameters[0].grad is None


def test_a_step_that_the_scaler_skips_is_none():
    """Gradients that overflow in float16 change nothing and count for nothing."""
    parameters = weights(1)
    optimizer = Optimizer(build_optimizer("adam", parameters))
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)

    for factor, changed in ((math.inf, False), (1.0, True)):
        before = parameters[0].detach().clone()
        scaler.scale((parameters[0] * factor).sum()).backward()

        assert changed == optimizer.step(scaler)
        assert changed == (not torch.equal(before, parameters[0].detach()))
        optimizer.zero_grad()
    assert 1 == optimizer.iterations
    assert 2.0 == scaler.get_scale()


def test_what_is_not_keras_s_is_torch_s():
    """Names that are not Keras's reach the torch optimizer."""
    optimizer = groups(0.1)

    assert "sgd" == optimizer.name
    assert optimizer.torch.defaults is optimizer.defaults
    assert 1 == len(optimizer.param_groups)
    assert 0.1 == copy.deepcopy(optimizer).learning_rate
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = optimizer.no_such_thing


@pytest.mark.parametrize("name", ["adam", "sgd", "rmsprop", "adagrad", "nadam"])
@pytest.mark.parametrize("schedule", [None, "exponential", "cosine"])
def test_state_goes_on_where_it_was_left(name, schedule):
    """Saved and taken back, with a scheduler and a changed rate, training goes on bit for bit."""

    def made():
        parameters = weights()
        optimizer = Optimizer(build_optimizer(name, parameters))
        if schedule:
            optimizer.attach_scheduler(SCHEDULES[schedule])
        return parameters, optimizer

    def train(parameters, optimizer, steps):
        for step in steps:
            give_gradients(parameters, step)
            if step == 2:
                optimizer.learning_rate = optimizer.learning_rate * 0.5
            optimizer.step()
            optimizer.step_scheduler()

    whole, first, second = made(), made(), made()
    train(*whole, range(8))
    train(*first, range(4))
    second[1].load_state_dict(copy.deepcopy(first[1].state_dict()))
    with torch.no_grad():
        for ours, theirs in zip(second[0], first[0], strict=True):
            ours.copy_(theirs)

    train(*second, range(4, 8))

    assert whole[1].rates() == second[1].rates()
    assert 8 == second[1].iterations
    for ours, theirs in zip(second[0], whole[0], strict=True):
        assert torch.equal(ours, theirs)


def test_a_state_from_another_machine_is_reckoned_here():
    """Whether steps are fused is this machine's business, not the saved one's."""
    plain = Optimizer(torch.optim.Adam(weights(), fused=False))
    fused = Optimizer(torch.optim.Adam(weights(), fused=True))
    give_gradients(plain.param_groups[0]["params"], 0)
    plain.step()

    fused.load_state_dict(plain.state_dict())

    assert True is fused.param_groups[0]["fused"]
    give_gradients(fused.param_groups[0]["params"], 1)
    assert fused.step()


def test_another_optimizer_s_state_is_refused():
    """Another number of groups, and a scheduler on one side alone, are a mismatch that is named."""
    one, two, watched = groups(0.1), groups(0.1, 0.2), scheduled("step", 0.1)

    with pytest.raises(CheckpointMismatch, match="belongs to another optimizer"):
        one.load_state_dict(two.state_dict())
    with pytest.raises(CheckpointMismatch, match="this optimizer has a scheduler, the state has none"):
        watched.load_state_dict(one.state_dict())
    with pytest.raises(CheckpointMismatch, match="the state has a scheduler, this optimizer has none"):
        one.load_state_dict(watched.state_dict())
