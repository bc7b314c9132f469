"""Estimators of scikit-learn that learn by ``partial_fit`` in a loop written by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.cluster import Birch, MiniBatchKMeans
from sklearn.decomposition import IncrementalPCA
from sklearn.linear_model import LogisticRegression, Perceptron, SGDClassifier, SGDRegressor
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputRegressor
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import StandardScaler

import jalon
from jalon.bridges.sklearn_bridge.host import EstimatorHost
from jalon.callbacks import EarlyStopping, ModelCheckpoint, ReduceLROnPlateau
from jalon.errors import ArgumentError, CheckpointMismatch, NotReady

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))
CLASSES = np.array(["ant", "bee", "cat"])
Y = RNG.integers(0, 3, 60)

CLASSIFIERS = [
    SGDClassifier(learning_rate="constant", eta0=0.1, average=True, random_state=1),
    SGDClassifier(random_state=np.random.RandomState(2)),
    Perceptron(),
    MLPClassifier((5,), random_state=3),
    MLPClassifier((5,), solver="sgd"),
    GaussianNB(),
    OneVsRestClassifier(SGDClassifier(random_state=0)),
]
OTHERS = [SGDRegressor(), MLPRegressor(hidden_layer_sizes=(4,)), MiniBatchKMeans(3), IncrementalPCA(2), StandardScaler()]


def learn(model, number):
    """Let an estimator see a batch."""
    rows = slice(number * 20, number * 20 + 20)
    if hasattr(model, "predict_proba") or type(model).__name__ in ("SGDClassifier", "Perceptron", "OneVsRestClassifier"):
        model.partial_fit(X[rows], CLASSES[Y[rows]], classes=CLASSES)
    else:
        model.partial_fit(X[rows], Y[rows].astype(float))


def learned(model):
    """Return what an estimator has learned, as bytes."""
    return {name: value.tobytes() for name, value in EstimatorHost(model).snapshot_weights().items()}


@pytest.mark.parametrize("given", CLASSIFIERS + OTHERS, ids=lambda model: type(model).__name__)
def test_a_file_gives_an_estimator_back(given, tmp_path):
    """To one that has learned nothing; both learn on alike, and it was copied at the moment of the save."""
    model, again = clone(given), clone(given)
    learn(model, 0)
    write = EstimatorHost(model).freeze(tmp_path / "model.safetensors", weights_only=False, about={})
    np.random.seed(5)
    learn(model, 1)
    write()
    np.random.seed(5)

    EstimatorHost(again).load(tmp_path / "model.safetensors")
    assert learned(model) != learned(again)
    learn(again, 1)

    assert learned(model) == learned(again)
    if hasattr(model, "predict"):
        np.testing.assert_array_equal(model.predict(X), again.predict(X))


@pytest.mark.parametrize("given", CLASSIFIERS + OTHERS, ids=lambda model: type(model).__name__)
def test_weights_come_back_in_memory(given):
    """What it learned since is forgotten, and it learns on."""
    model = clone(given)
    learn(model, 0)
    before, host = learned(model), EstimatorHost(model)
    kept = host.snapshot_weights()
    learn(model, 1)
    assert before != learned(model)
    host.restore_weights(kept)

    assert before == learned(model)
    learn(model, 1)


def test_the_callbacks_do_under_partial_fit_what_they_do_elsewhere(tmp_path):
    """The best weights come back, the rate falls, the files are there."""
    model = SGDClassifier(learning_rate="constant", eta0=0.5, random_state=0)
    seen = []

    class Watch(jalon.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(self.model.trained.coef_.copy())

    loop = jalon.Loop(
        [
            Watch(),
            ModelCheckpoint(tmp_path / "{epoch}.safetensors", monitor="score", mode="max", save_best_only=True),
            ReduceLROnPlateau("score", mode="max", factor=0.5, patience=1),
            EarlyStopping("score", mode="max", patience=2, restore_best_weights=True),
        ],
        model=model,
        epochs=9,
        verbose=0,
    )
    for epoch in loop:
        for number in loop.batches(range(3)):
            learn(model, number)
        loop.log(score=[1, 3, 2, 2][epoch])

    assert [0.5, 0.5, 0.5, 0.25] == loop.history.history["learning_rate"]
    assert ["1.safetensors", "2.safetensors"] == sorted(path.name for path in tmp_path.iterdir())
    np.testing.assert_array_equal(seen[1], model.coef_)
    again = SGDClassifier(learning_rate="constant", eta0=0.5, random_state=0)
    EstimatorHost(again).load(tmp_path / "2.safetensors")
    np.testing.assert_array_equal(seen[1], again.coef_)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_a_perceptron_with_layers_learns_at_the_rate_that_is_set(solver):
    """At once, and after it was loaded."""
    model = MLPClassifier((5,), solver=solver, momentum=0, random_state=0)
    learn(model, 0)
    host, before = EstimatorHost(model), model.coefs_[0].copy()
    host.set_learning_rates([1e-12])
    learn(model, 1)

    np.testing.assert_allclose(before, model.coefs_[0], atol=1e-10)
    assert [1e-12] == host.learning_rates()


def test_an_interrupted_training_ends_as_one_that_was_not(tmp_path):
    """The estimator that the program makes anew goes on as the one that was left."""

    class Interrupt(jalon.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1 and not (tmp_path / "once").exists():
                (tmp_path / "once").touch()
                raise KeyboardInterrupt

    def train(run_dir, *callbacks):
        model = MLPClassifier((5,), random_state=0)
        loop = jalon.Loop(list(callbacks), model=model, epochs=4, verbose=0, run_dir=run_dir)
        for _ in loop:
            for number in loop.batches(range(3)):
                learn(model, number)
                loop.log(loss=model.loss_)
        return learned(model), loop.history.history

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", Interrupt())

    assert train(None) == train(tmp_path / "run", Interrupt())


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (SGDClassifier(), r"SGDClassifier\(learning_rate='optimal'\) reckons its rate itself"),
        (GaussianNB(), "GaussianNB has no learning rate to set"),
    ],
)
def test_a_rate_that_cannot_be_set_is_said_at_the_start(model, why):
    """By name, before the first step."""
    with pytest.raises(ArgumentError, match=f"ReduceLROnPlateau: {why}"):
        next(iter(jalon.Loop(ReduceLROnPlateau("loss"), model=model, verbose=0)))
    with pytest.raises(NotReady, match=why):
        EstimatorHost(model).set_learning_rates([0.1])


def test_what_cannot_be_trained_or_saved_is_refused(tmp_path):
    """By name: what has no ``partial_fit``, an optimizer, another estimator's file, parts without an end."""
    with pytest.raises(ArgumentError, match="LogisticRegression has no partial_fit"):
        jalon.Loop(model=LogisticRegression())
    with pytest.raises(ArgumentError, match="has its optimizer in itself"):
        jalon.Loop(model=SGDClassifier(), optimizer=0.1)
    birch = Birch()
    learn(birch, 0)
    with pytest.raises(ArgumentError, match="what a Birch has learned cannot be saved"):
        EstimatorHost(birch).snapshot_weights()
    model, path = SGDRegressor(), tmp_path / "model.safetensors"
    learn(model, 0)
    EstimatorHost(model).freeze(path, weights_only=True, about={})()
    with pytest.raises(CheckpointMismatch, match=r"a SGDRegressor. Here it is a GaussianNB"):
        EstimatorHost(GaussianNB()).load(path)


def test_objects_are_not_made_by_what_a_file_says(tmp_path):
    """Where an estimator of that kind cannot be had by a batch of zeros, it must have seen a batch."""
    model, path = MultiOutputRegressor(SGDRegressor(random_state=0)), tmp_path / "model.safetensors"
    model.partial_fit(X, X[:, :2])
    EstimatorHost(model).freeze(path, weights_only=True, about={})()
    again = clone(model)
    with pytest.raises(CheckpointMismatch, match="Let it see one batch by partial_fit before it is loaded"):
        EstimatorHost(again).load(path)
    again.partial_fit(X[:2], X[:2, :2])
    EstimatorHost(again).load(path)

    np.testing.assert_array_equal(model.predict(X), again.predict(X))
