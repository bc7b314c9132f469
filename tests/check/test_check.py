"""``jalon.check``: what it is given, what it returns, what is said when training begins."""

from __future__ import annotations

import json
import warnings

import pytest

import jalon
from jalon.callbacks import CSVLogger, EarlyStopping, ModelCheckpoint, ReduceLROnPlateau
from jalon.check.config import check_config
from jalon.cli import app
from jalon.errors import ArgumentError, IneffectiveCallback, UnknownName
from jalon.testing import play

EPOCH = {"loss": 1.0}


def never_reduces() -> ReduceLROnPlateau:
    """Return a callback that can have no effect."""
    return ReduceLROnPlateau("loss", min_lr=0.001)


def test_findings_print_as_lines():
    """Each finding with its code, its severity, its sentence and its remedy, and how many there are."""
    found = jalon.check(
        [EarlyStopping("val_los", patience=5, restore_best_weights=True), never_reduces()], metrics=[], learning_rate=0.001
    )

    assert (
        "JAL101  error    EarlyStopping monitors 'val_los', which this training does not report. Reported: loss. Monitor one of\n"
        "                 them.\n"
        "JAL201  warning  ReduceLROnPlateau(min_lr=0.001) can never reduce the learning rate: it starts at 0.001. Pass a min_lr\n"
        "                 below it, as min_lr=1e-05.\n"
        "1 error and 1 warning in 2 callbacks." == str(found)
    )
    assert ["JAL101"] == [finding.code for finding in found.errors]


def test_what_is_not_told_is_not_judged():
    """Without a fact, the rules that need it are silent."""
    assert [] == jalon.check([EarlyStopping("val_los", patience=500, restore_best_weights=True), never_reduces()])


def test_metrics_come_with_those_of_the_validation():
    """With validation, each metric is reported for it too, and loss always."""
    stopper = EarlyStopping("val_f1", mode="max", patience=5, restore_best_weights=True)

    assert [] == jalon.check(stopper, metrics=["f1"], validation=True)
    assert ["JAL102"] == jalon.check(stopper, metrics=["f1"], validation=False).codes


def test_a_model_knows_its_metrics_and_its_rate():
    """With model= nothing else has to be told: names, rates and suffixes are the model's."""
    torch = pytest.importorskip("torch")
    model = jalon.Model(torch.nn.Linear(2, 2)).compile("adam", loss="cross_entropy", metrics=["accuracy"])

    found = jalon.check([never_reduces(), ModelCheckpoint("{epoch:03d}.ckpt")], model=model)

    assert ["JAL201", "JAL301"] == found.codes


def test_keras_s_own_callbacks_are_understood():
    """A list for Keras's fit is read like one of ours."""
    keras = pytest.importorskip("keras")
    callbacks = [keras.callbacks.ReduceLROnPlateau(patience=9), keras.callbacks.EarlyStopping(patience=5, mode="min")]

    assert ["JAL204", "JAL210"] == jalon.check(callbacks).codes


def test_a_warning_is_silenced_by_its_code():
    """In a check, and in a block around a training."""
    assert [] == jalon.check(never_reduces(), learning_rate=0.001, ignore=["JAL201"])

    with jalon.check.ignoring("JAL201"):
        play(never_reduces(), [EPOCH])


def test_python_s_own_filter_silences_by_the_code_too():
    """What is said when training begins starts with the code."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "JAL201")
        play(never_reduces(), [EPOCH])


@pytest.mark.parametrize(("code", "kind"), [("JAL101", ArgumentError), ("JAL999", UnknownName)])
def test_an_error_cannot_be_silenced(code, kind):
    """Neither can a code that there is not."""
    with pytest.raises(kind, match=code):
        jalon.check([], ignore=code)
    with pytest.raises(kind, match=code), jalon.check.ignoring(code):
        pass


def test_a_warning_is_given_when_training_begins():
    """A rule that is sure of itself warns before the first hook."""
    with pytest.warns(IneffectiveCallback, match=r"^JAL201 .* starts at 0\.001"):
        play(never_reduces(), [EPOCH])


def test_an_error_stops_the_training_before_it_begins(tmp_path):
    """Two writers of one file are refused, and the file is not there."""
    path = tmp_path / "a.csv"

    with pytest.raises(ArgumentError, match="JAL303"):
        play([CSVLogger(path), CSVLogger(path)], [EPOCH])
    assert not path.exists()


def test_a_short_trial_is_not_scolded():
    """What depends on the training's length is not said when it begins."""
    play(EarlyStopping("loss", patience=50), [EPOCH])


def test_to_check_touches_nothing(tmp_path):
    """No file, no folder; the callbacks are what they were."""
    callbacks = [ModelCheckpoint(tmp_path / "a" / "b.h5"), CSVLogger(tmp_path / "c.csv"), EarlyStopping("val_loss")]

    jalon.check(callbacks, metrics=["accuracy"], validation=True, epochs=5)

    assert [] == list(tmp_path.iterdir())
    assert callbacks[2]._monitor.direction is None


def test_a_configuration_is_checked_without_a_program(tmp_path, capsys):
    """Callbacks and facts from TOML and from JSON."""
    facts = {"epochs": 10, "metrics": ["loss"], "callbacks": [{"class": "EarlyStopping", "monitor": "loss", "patience": 20}]}
    as_json, as_toml = tmp_path / "train.json", tmp_path / "train.toml"
    as_json.write_text(json.dumps(facts))
    as_toml.write_text(
        'epochs = 10\nmetrics = ["loss"]\n[[callbacks]]\nclass = "EarlyStopping"\nmonitor = "loss"\npatience = 20\n'
    )

    code = app(["check", str(as_toml), "--ignore", "JAL210"], result_action="return_value")

    assert 1 == code
    assert capsys.readouterr().out.startswith("JAL202  warning  EarlyStopping(patience=20) cannot end")
    assert ["JAL202", "JAL210"] == check_config(as_json).codes


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "cannot be read"),
        ('{"epoch": 3}', "Did you mean 'epochs'"),
        ('{"callbacks": [{"class": "EarlyStoping"}]}', "Did you mean 'EarlyStopping'"),
        ('{"callbacks": [{"class": "EarlyStopping", "patince": 3}]}', "Did you mean 'patience'"),
        ('{"callbacks": [{"class": "no_such_module:Mine"}]}', "cannot be loaded"),
        ('{"callbacks": [3]}', "needs a class"),
        ('{"callbacks": [{"urls": "slack://token"}]}', r"needs a class, as EarlyStopping\. Received: one with urls\.$"),
    ],
)
def test_what_is_wrong_with_a_configuration_is_said(tmp_path, text, says):
    """What cannot be read, or names what there is not, is refused with the nearest name."""
    path = tmp_path / "train.json"
    path.write_text(text)

    with pytest.raises(ArgumentError, match=says):
        check_config(path)


def test_a_warning_shows_the_line_of_the_program():
    """Not one of jalon's own: that is where the mistake can be mended, and where a second one is not told twice."""
    with pytest.warns(IneffectiveCallback) as caught:
        play([never_reduces()], [EPOCH])

    assert __file__ == caught[0].filename
