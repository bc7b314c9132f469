"""``Model``: weights, files, inference in another process, warm starts."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

import jalon
from jalon.callbacks import Callback, CSVLogger, ModelCheckpoint, ProgbarLogger, Standardize, TensorBoard, Transform
from jalon.errors import ArgumentError, CheckpointError, CheckpointMismatch

SUFFIXES = [".safetensors", ".h5", ".pt"]


def network(outputs: int = 10) -> nn.Module:
    return nn.Sequential(nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, outputs))


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    return x[:300].astype("float32"), y[:300]


@pytest.fixture
def trained(digits):
    torch.manual_seed(0)
    model = jalon.Model(network()).compile("adam", "cross_entropy", metrics=["accuracy"])
    model.fit(*digits, epochs=2, callbacks=Standardize(), verbose=0)
    return model


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_saved_model_predicts_the_same_in_another_process(trained, digits, tmp_path, suffix):
    """from_checkpoint gives, in a new process, the predictions of the model that was saved, its preprocessing included."""
    path = tmp_path / f"model{suffix}"
    trained.save_weights(path)
    np.save(tmp_path / "x.npy", digits[0])
    code = f"""
import numpy as np, jalon
from torch import nn
net = nn.Sequential(nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10))
model = jalon.Model.from_checkpoint({str(path)!r}, net)
np.save({str(tmp_path / "out.npy")!r}, model.predict(np.load({str(tmp_path / "x.npy")!r}), verbose=0))
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())})

    np.testing.assert_allclose(trained.predict(digits[0], verbose=0), np.load(tmp_path / "out.npy"), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_load_goes_on_as_if_never_left(digits, tmp_path, suffix):
    """A model saved whole and loaded trains on with the weights and the optimizer it had."""

    def fresh():
        torch.manual_seed(0)
        return jalon.Model(network()).compile("adam", "cross_entropy")

    def weights(model, **more):
        model.fit(*digits, initial_epoch=2, epochs=4, shuffle=False, verbose=0, **more)
        return model.get_weights()

    whole = fresh()
    whole.fit(*digits, epochs=2, shuffle=False, verbose=0)
    whole.save(tmp_path / f"model{suffix}")
    loaded = fresh()
    loaded.load(tmp_path / f"model{suffix}")

    assert whole.optimizer.iterations == loaded.optimizer.iterations
    for expected, actual in zip(weights(whole), weights(loaded), strict=True):
        assert np.array_equal(expected, actual)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_load_weights_leaves_the_optimizer_fresh(trained, tmp_path, suffix):
    """A warm start takes the weights alone."""
    trained.save(tmp_path / f"model{suffix}")
    other = jalon.Model(network()).compile("adam", "cross_entropy")

    other.load_weights(tmp_path / f"model{suffix}")

    assert 0 == other.optimizer.iterations
    for expected, actual in zip(trained.get_weights(), other.get_weights(), strict=True):
        assert np.array_equal(expected, actual)


def test_weights_alone_cannot_be_resumed_from(trained, tmp_path):
    """load on a file of weights names the way to start from them."""
    trained.save_weights(tmp_path / "w.safetensors")

    with pytest.raises(CheckpointError, match="load_weights"):
        trained.load(tmp_path / "w.safetensors")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_frozen_does_not_change_with_the_model(trained, digits, tmp_path, suffix):
    """A model frozen and written later is the model of that moment, its optimizer included."""
    before, iterations = trained.get_weights(), trained.optimizer.iterations
    write = trained.trainer_adapter().freeze(tmp_path / f"model{suffix}", weights_only=False, about={})
    trained.fit(*digits, verbose=0)

    write()

    other = jalon.Model(network()).compile("adam", "cross_entropy")
    other.load(tmp_path / f"model{suffix}")
    assert iterations == other.optimizer.iterations
    assert all(np.array_equal(one, two) for one, two in zip(before, other.get_weights(), strict=True))


def test_another_models_file_is_refused_and_nothing_is_changed(trained, tmp_path):
    """A file whose weights do not fit names the differences, and the model stays as it was."""
    trained.save_weights(tmp_path / "w.safetensors")
    other = jalon.Model(network(outputs=7))
    before = other.get_weights()

    with pytest.raises(CheckpointMismatch, match=r"3.weight is \(10, 16\) in the file and \(7, 16\) in the module"):
        other.load_weights(tmp_path / "w.safetensors")

    assert all(np.array_equal(one, two) for one, two in zip(before, other.get_weights(), strict=True))


def test_an_unknown_suffix_is_refused(trained, tmp_path):
    """The suffixes there are stand in the message."""
    with pytest.raises(ArgumentError, match=r"\.safetensors, \.h5, \.pt"):
        trained.save(tmp_path / "model.keras")


def test_overwrite_false_keeps_the_file(trained, tmp_path):
    """A file that is there is kept when overwriting is forbidden."""
    path = tmp_path / "w.pt"
    path.write_bytes(b"mine")

    with pytest.raises(ArgumentError, match="exists"):
        trained.save(path, overwrite=False)

    assert b"mine" == path.read_bytes()


def test_get_and_set_weights_go_round(trained):
    """get_weights returns copies; set_weights puts them back, and refuses others."""
    before = trained.get_weights()
    trained.set_weights([np.zeros_like(value) for value in before])
    assert 0 == sum(float(np.abs(value).sum()) for value in trained.get_weights())

    trained.set_weights(before)

    assert all(np.array_equal(one, two) for one, two in zip(before, trained.get_weights(), strict=True))
    with pytest.raises(ArgumentError, match="shape"):
        trained.set_weights([value[..., None] for value in before])
    with pytest.raises(ArgumentError, match="arrays"):
        trained.set_weights(before[1:])


def test_early_stopping_restores_the_best_weights_from_a_saved_state(trained, digits):
    """The best weights that EarlyStopping holds survive its state as plain arrays, and are put back at the end."""
    best = trained.get_weights()
    stopper = jalon.callbacks.EarlyStopping("loss", mode="min", restore_best_weights=True)
    kept = {"state": None}

    class Resume(Callback):
        def on_train_begin(self, logs=None):
            if kept["state"] is not None:
                stopper.load_state_dict(kept["state"])

        def on_epoch_end(self, epoch, logs=None):
            if kept["state"] is None:
                logs["loss"] = -1.0  # nothing later is better

    class Keep(Callback):
        def on_epoch_end(self, epoch, logs=None):
            kept["state"] = kept["state"] or stopper.state_dict()
            kept.setdefault("weights", trained.get_weights())

    trained.fit(*digits, callbacks=[Resume(), stopper, Keep()], verbose=0)
    trained.fit(*digits, initial_epoch=1, epochs=3, callbacks=[stopper, Resume()], verbose=0)

    assert not all(np.array_equal(one, two) for one, two in zip(best, trained.get_weights(), strict=True))
    assert all(np.array_equal(one, two) for one, two in zip(kept["weights"], trained.get_weights(), strict=True))


class Halve(Callback, Transform):
    """A transform of the user's own, with a state."""

    def __init__(self):
        self.factor = 1.0

    def fit_transform_begin(self, batches):
        self.factor = 1 / max(float(x.abs().max()) for x, *_ in batches)

    def transform_batch(self, data, phase):
        x, *rest = data
        return (x * self.factor, *rest)

    def transform_state(self):
        return {"factor": self.factor}

    def load_transform_state(self, state):
        self.factor = state["factor"]


def test_a_transform_of_ones_own_travels_with_the_model(digits, tmp_path):
    """Its state is in the file; reading asks for the object, never for code from the file."""
    model = jalon.Model(network()).compile("adam", "cross_entropy")
    model.fit(*digits, callbacks=[Halve()], verbose=0)
    model.save_weights(tmp_path / "w.safetensors")

    with pytest.raises(CheckpointMismatch, match="Halve"):
        jalon.Model.from_checkpoint(tmp_path / "w.safetensors", network())
    again = jalon.Model.from_checkpoint(tmp_path / "w.safetensors", network(), transforms=[Halve()])

    assert 1 / 16 == again.transforms[0].factor
    assert np.array_equal(model.predict(digits[0], verbose=0), again.predict(digits[0], verbose=0))


def test_transforms_prepare_training_validation_and_predict(digits):
    """Every phase sees prepared batches, and the statistics come from the training part alone."""
    phases = set()

    class Look(Standardize):
        def transform_batch(self, data, phase):
            phases.add(phase)
            return super().transform_batch(data, phase)

    look = Look()
    model = jalon.Model(network()).compile("adam", "cross_entropy")
    model.fit(*digits, validation_split=0.5, callbacks=look, verbose=0)
    model.predict(digits[0], verbose=0)
    model.evaluate(*digits, verbose=0)

    assert {"train", "validation", "predict", "test"} == phases
    np.testing.assert_allclose(digits[0][:150].mean(0), look.transform_state()["mean"]["x"], rtol=1e-6)


def test_a_checkpoint_of_a_training_is_read_back_exactly(digits, tmp_path):
    """What ModelCheckpoint wrote at an epoch's end are that epoch's weights, bit for bit."""
    kept = {}
    path = tmp_path / "epoch-{epoch}.pt"
    keep = jalon.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: kept.update({epoch: model.get_weights()}))
    model = jalon.Model(network()).compile("adam", "cross_entropy")
    model.fit(*digits, epochs=3, callbacks=[ModelCheckpoint(path), keep], verbose=0)

    for epoch, weights in kept.items():
        read = jalon.Model.from_checkpoint(str(path).format(epoch=epoch + 1), network()).get_weights()
        assert all(np.array_equal(one, two) for one, two in zip(weights, read, strict=True))


def test_the_last_line_names_the_file_of_the_last_epoch(digits, tmp_path, capsys):
    """What the last epoch saved is on the disk before the end is told."""
    model = jalon.Model(network()).compile("adam", "cross_entropy")
    saver = ModelCheckpoint(tmp_path / "m.pt", save_best_only=True)
    history = model.fit(*digits, validation_split=0.2, callbacks=saver, verbose=2)

    assert f"Best val_loss {history.best.value:.4f} in epoch 1, kept in {tmp_path / 'm.pt'}" in capsys.readouterr().out


def test_evaluate_returns_what_keras_returns(trained, digits):
    """A list, loss first; the loss alone where there is nothing else; a dict when asked."""
    listed = trained.evaluate(*digits, verbose=0)
    named = trained.evaluate(*digits, verbose=0, return_dict=True)
    alone = jalon.Model(trained.module).compile("adam", "cross_entropy").evaluate(*digits, verbose=0)

    assert listed == [named["loss"], named["accuracy"]]
    assert isinstance(alone, float)


def test_predict_returns_all_rows_in_order_and_leaves_the_mode(trained, digits):
    """predict runs in evaluation mode, in the order given, and puts the module back into its mode."""
    trained.module.train()
    whole = trained.predict(digits[0], verbose=0)
    rows = np.concatenate([trained.predict(digits[0][i : i + 1], verbose=0) for i in range(5)])

    np.testing.assert_allclose(whole[:5], rows, rtol=1e-4, atol=1e-5)
    assert (300, 10) == whole.shape
    assert trained.module.training


def test_summary_names_layers_and_counts_parameters(trained, capsys):
    """summary prints each layer with its weights, and the totals."""
    trained.summary()

    printed = capsys.readouterr().out
    assert "BatchNorm1d" in printed
    assert "Parameters: 1,242" in printed


def test_a_model_can_be_pickled(trained, digits, tmp_path):
    """A trained model goes through pickle, as to another process, whatever wrote files while it trained."""
    writers = [
        ModelCheckpoint(tmp_path / "m.pt"),
        CSVLogger(tmp_path / "log.csv"),
        TensorBoard(tmp_path / "logs"),
        ProgbarLogger(),
    ]
    trained.fit(*digits, validation_split=0.2, callbacks=writers)

    copy = pickle.loads(pickle.dumps(trained))

    assert np.array_equal(trained.predict(digits[0], verbose=0), copy.predict(digits[0], verbose=0))
