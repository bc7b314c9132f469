import pickle
from contextlib import suppress

import pytest

from jalon.callbacks import (
    BackupAndRestore,
    Callback,
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ProgbarLogger,
    ReduceLROnPlateau,
    TensorBoard,
    TerminateOnNaN,
)
from jalon.errors import ArgumentError, CheckpointError, CheckpointMismatch, HookNotReached, MissingMetric, NotReady


class Notes(Callback):
    """Note every hook that is reached, and whether it was closed."""

    def __init__(self):
        self.told, self.closed = [], 0

    def on_train_begin(self, logs=None):
        self.told.append("begin")

    def on_epoch_begin(self, epoch, logs=None):
        self.told.append(f"round {epoch}")

    def on_epoch_end(self, epoch, logs=None):
        self.told.append(f"end {epoch}")

    def on_train_end(self, logs=None):
        self.told.append("end")

    def on_exception(self, exc):
        self.told.append(type(exc).__name__)

    def close(self):
        self.closed += 1


def at_the_end(act):
    return LambdaCallback(on_train_end=act)


class TestLogs:
    def test_names(self, library):
        """The training set's metrics keep their names, the other set's begin with ``val_``; the first loss is ``loss`` too."""
        library.train([], 2)

        names = ("auc", library.loss, "loss")
        assert {*names, *(f"val_{name}" for name in names)} == set(library.bridge.history.history)

    def test_values(self, library):
        """What is told is what the library computed, after every round."""
        library.train([], 3)
        history = library.bridge.history.history

        assert history[library.loss] == history["loss"]
        assert 3 == len(history["val_loss"])
        assert sorted(history["loss"], reverse=True) == history["loss"]

    def test_direction(self, library):
        """More of ``auc`` is better, without being told."""
        stopper = EarlyStopping("val_auc", patience=2)
        library.train(stopper)
        told = library.bridge.history.history["val_auc"]

        assert max(told) == stopper.best

    def test_missing(self, library):
        """A monitor that nothing reports is refused after the first round, with the names that there are."""
        with pytest.raises(MissingMetric, match=r"val_los.*Did you mean 'val_loss'"):
            library.train(EarlyStopping("val_los", mode="min"))


class TestHooks:
    def test_order(self, library):
        """A round is an epoch."""
        notes = Notes()
        library.train(notes, 2)

        assert ["begin", "round 0", "end 0", "round 1", "end 1", "end"] == notes.told
        assert 1 == notes.closed

    def test_batches(self, library):
        """A callback that waits for batches is told at the start that there are none."""

        class Batches(Callback):
            def on_train_batch_end(self, batch, logs=None):
                pass

        with pytest.warns(HookNotReached, match=r"Batches overrides on_train_batch_end, never reached.*has no batches"):
            library.train(Batches(), 1)

    def test_our_own(self, library, tmp_path, capsys):
        """None of jalon's callbacks of every day waits for batches."""
        everyday = [
            ModelCheckpoint(tmp_path / f"best{library.suffix}", save_best_only=True),
            ReduceLROnPlateau(),
            EarlyStopping(patience=3),
            CSVLogger(tmp_path / "training.log"),
            TensorBoard(tmp_path / "logs"),
            TerminateOnNaN(),
            ProgbarLogger(),
        ]
        library.train(everyday, 2)

        assert ["Epoch 1/2 - 1/1", "Epoch 2/2 - 1/1"] == [line[:15] for line in capsys.readouterr().out.splitlines()[:2]]

    def test_the_same_again(self, library):
        """The same callbacks serve another training, which begins at its beginning."""
        stopper = EarlyStopping(patience=2, restore_best_weights=True)
        first = library.train(stopper)
        second = library.train(stopper)

        assert library.trees(first) == library.trees(second)

    def test_two_bridges(self, library):
        """Two bridges in one list are refused."""
        other = type(library)()
        other.train([], 1)
        with pytest.raises(ArgumentError, match="two bridges"):
            library.train([], 1, others=[other.bridge])


class TestStop:
    def test_best_weights(self, library):
        """With ``restore_best_weights`` the booster has the rounds up to the best one, and is the model of that round."""
        stopper = EarlyStopping(patience=3, restore_best_weights=True)
        booster = library.train(stopper)
        history = library.bridge.history
        alone = library.train([], stopper.best_epoch + 1)

        assert "no improvement in val_loss for 3 epochs" == history.stop_reason
        assert stopper.best_epoch + 4 == len(history.epoch)
        assert stopper.best_epoch + 1 == library.rounds(booster)
        assert library.trees(alone) == library.trees(booster)
        assert library.predict(alone) == library.predict(booster)

    def test_best_weights_at_the_end(self, library, tmp_path):
        """A callback that comes after it finds the best round's model when training ends."""
        stopper, path = EarlyStopping(patience=3, restore_best_weights=True), tmp_path / f"model{library.suffix}"
        library.train([stopper, end := at_the_end(lambda logs: end.model.save(path))])
        alone = library.train([], stopper.best_epoch + 1)

        assert library.predict(alone) == library.predict(library.read(path))

    def test_last_weights(self, library):
        """Without it, the booster has all rounds, and predicts with all of them."""
        booster = library.train(EarlyStopping(patience=3))
        rounds = len(library.bridge.history.epoch)
        alone = library.train([], rounds)

        assert rounds < 40
        assert library.predict(alone) == library.predict(booster)

    def test_by_hand(self, library):
        """``model.stop_training`` ends training after its round."""

        class Stop(Callback):
            def on_epoch_end(self, epoch, logs=None):
                self.model.stop_training = epoch == 1

        assert 2 == library.rounds(library.train(Stop()))
        assert "Stop set model.stop_training" == library.bridge.history.stop_reason

    def test_by_the_librarys_own(self, library):
        """Where a callback of the library's own ends training, jalon's are told of that round, and why."""
        notes = Notes()
        library.train(notes, others=[library.stopping_at(1)])

        assert ["round 1", "end 1", "end"] == notes.told[-3:]
        assert f"a callback of {library.name}'s own ended training" == library.bridge.history.stop_reason

    def test_nan(self, library):
        """``TerminateOnNaN`` looks at the round's loss."""

        def metric(*_):
            return [("loss", float("nan"), False)] if library.name == "LightGBM" else [("loss", float("nan"))]

        library.train(TerminateOnNaN(), metric=metric)

        assert "loss is nan at epoch 1" == library.bridge.history.stop_reason


class TestFailure:
    def test_callback(self, library):
        """An exception of a callback reaches all, and everything is closed."""

        class Fail(Callback):
            def on_epoch_end(self, epoch, logs=None):
                raise ZeroDivisionError

        notes = Notes()
        with pytest.raises(ZeroDivisionError):
            library.train([notes, Fail()])

        assert ["end 0", "ZeroDivisionError"] == notes.told[-2:]
        assert 1 == notes.closed

    @pytest.mark.parametrize("fault", [ValueError, KeyboardInterrupt])
    def test_objective(self, library, fault):
        """So does one of an objective, Ctrl-C included."""

        def objective(*_):
            raise fault

        notes = Notes()
        with pytest.raises(fault):
            library.train(notes, objective=objective)

        assert ["round 0", fault.__name__] == notes.told[-2:]
        assert 1 == notes.closed

    def test_metric(self, library):
        """So does one of a metric."""

        def metric(*_):
            raise ValueError

        notes = Notes()
        with pytest.raises(ValueError):  # noqa: PT011  # as raised above
            library.train(notes, metric=metric)

        assert ["round 0", "ValueError"] == notes.told[-2:]
        assert 1 == notes.closed

    def test_others(self, library):
        """So does one of a callback of the library's own."""
        notes = Notes()
        with pytest.raises(ZeroDivisionError):
            library.train(notes, others=[library.raising()])

        assert ["round 0", "ZeroDivisionError"] == notes.told[-2:]
        assert 1 == notes.closed


class TestLearningRate:
    def test_scheduled(self, library):
        """A rate that is set holds for the round that begins, and is read back."""
        seen = []
        schedule = LearningRateScheduler(lambda epoch: 0.5 if epoch < 2 else 0.05)
        look = LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(look.model.optimizer.learning_rate))
        booster = library.train([schedule, look], 4)
        slow, fast = library.train([], 4, **{"learning_rate": 0.05}), library.train([], 4)

        assert [0.5, 0.5, 0.05, 0.05] == seen == library.bridge.history.history.get("learning_rate", seen)
        assert library.trees(fast)[:2] == library.trees(booster)[:2]
        assert library.trees(fast)[2] != library.trees(booster)[2] != library.trees(slow)[2]

    def test_set_by_others(self, library):
        """A rate that a callback of the library's own sets is read too."""
        seen = []
        look = LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(look.model.optimizer.learning_rate))
        library.train(look, 3, others=[library.scheduling(lambda epoch: 0.5**epoch)])

        assert [1.0, 0.5, 0.25] == seen

    def test_default(self, library):
        """A rate that nobody gave is the library's own."""
        seen = []
        look = LambdaCallback(on_train_begin=lambda logs: seen.append(look.model.optimizer.learning_rate))
        library.classifier(look)
        library.train(look, 1, eta=0.25) if library.name == "XGBoost" else library.train(look, 1, learning_rate=0.25)

        assert [0.5, 0.25] == seen


class TestFiles:
    def test_saved(self, library, tmp_path):
        """Each round's file is the model of that round, in the library's own format."""
        library.train(ModelCheckpoint(tmp_path / f"{{epoch}}{library.suffix}"), 3)
        alone = library.train([], 2)

        assert library.predict(alone) == library.predict(library.read(tmp_path / f"2{library.suffix}"))
        assert [f"{number}{library.suffix}" for number in (1, 2, 3)] == sorted(path.name for path in tmp_path.iterdir())

    def test_suffix(self, library, tmp_path):
        """Another format is refused at the start, with the suffixes that there are."""
        with pytest.raises(ArgumentError, match=rf"must end in .*\{library.suffix}"):
            library.train(ModelCheckpoint(tmp_path / "best.h5"), 1)

    def test_model_saves(self, library, tmp_path):
        """``model.save`` writes what ``ModelCheckpoint`` writes."""
        path = tmp_path / "sub" / f"model{library.suffix}"
        library.train(end := at_the_end(lambda logs: end.model.save(path)), 2)

        assert library.predict(library.train([], 2)) == library.predict(library.read(path))

    def test_weights(self, library):
        """The weights of a round, kept by a callback, can be put back when training ends."""
        kept = []

        class Keep(Callback):
            def on_epoch_end(self, epoch, logs=None):
                if epoch == 1:
                    kept.extend(self.model.get_weights())

            def on_train_end(self, logs=None):
                self.model.set_weights(kept)

        booster = library.train(Keep(), 4)

        assert library.predict(library.train([], 2)) == library.predict(booster)

    def test_damaged(self, library, tmp_path):
        """A file that is no model is refused by name."""
        path = tmp_path / f"model{library.suffix}"
        path.write_text("no model")
        with pytest.raises(CheckpointError):
            library.train(end := at_the_end(lambda logs: end.model.load_weights(path)), 1)

    def test_what_trees_lack(self, library):
        """What a booster has not is said by name."""
        with pytest.raises(NotReady, match=r"has no 'layers'.*model\.booster"):
            library.train(begin := LambdaCallback(on_train_begin=lambda logs: begin.model.layers), 1)

    def test_pickle(self, library):
        """A booster that is pickled in training comes back as a plain one."""
        pickled = []
        keep = LambdaCallback(on_epoch_end=lambda epoch, logs: pickled.append(pickle.dumps(keep.model.booster)))
        booster = library.train(keep, 2)
        copy = pickle.loads(pickled[-1])

        assert type(booster) is type(copy)
        assert library.predict(booster) == library.predict(copy)


class TestClassifier:
    def test_best(self, library):
        """Through scikit-learn's interface the model is that of the best round too."""
        stopper = EarlyStopping(patience=2, restore_best_weights=True)
        model = library.classifier(stopper)

        assert library.rounds(getattr(model, "booster_", None) or model.get_booster()) == stopper.best_epoch + 1
        assert {"loss", library.loss, "val_loss", f"val_{library.loss}"} == set(library.bridge.history.history)


class TestCrossValidation:
    def test_stops(self, library):
        """``cv`` is stopped by the means over its folds, and tells of the rounds up to the best one."""
        stopper = EarlyStopping(patience=2, restore_best_weights=True)
        told = library.cv(stopper)
        history = library.bridge.history.history

        assert stopper.best_epoch + 1 == len(told) < len(history["val_loss"]) < 40
        assert history["val_loss"][: len(told)] == pytest.approx(list(told))
        assert 0 < history["val_loss_std"][0] < history["val_loss"][0]

    def test_all_rounds(self, library):
        """Stopped without ``restore_best_weights``, it tells of all rounds that it did."""
        told = library.cv(EarlyStopping(patience=2))

        assert len(library.bridge.history.epoch) == len(told) < 40

    def test_rate(self, library):
        """A change of the rate reaches the boosters of all folds."""
        told = library.cv(LearningRateScheduler(lambda epoch: 1e-30 if epoch else 0.5), 3)

        assert told[0] == told[1] == told[2]

    def test_rate_of_others(self, library):
        """A rate that a callback of the library's own sets is read."""
        seen = []
        look = LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(look.model.optimizer.learning_rate))
        library.cv(look, 3, others=[library.scheduling(lambda epoch: 0.5**epoch)])

        assert [1.0, 0.5, 0.25] == seen

    def test_saves(self, library, tmp_path):
        """To save from it is refused at the start."""
        with pytest.raises(ArgumentError, match="cv trains a booster for each fold and keeps none"):
            library.cv(ModelCheckpoint(tmp_path / f"best{library.suffix}"))
        with pytest.raises(ArgumentError, match="cv trains a booster for each fold and keeps none"):
            library.cv(BackupAndRestore(tmp_path / "backup"))


class TestBackup:
    def test_strangers(self, library, tmp_path):
        """Beside a callback whose state nobody keeps, a backup is refused at the start, and nothing is written."""
        with pytest.raises(ArgumentError, match=r"the state of .* is not kept"):
            library.train(BackupAndRestore(tmp_path / "backup"), others=[library.stopping_at(1)])

    def test_deleted(self, library, tmp_path):
        """When training has ended, the backup is gone."""
        exact = {"deterministic": True, "force_row_wise": True} if library.name == "LightGBM" else {}
        library.train(BackupAndRestore(tmp_path / "backup"), 2, **exact)

        assert [] == list(tmp_path.iterdir())

    def test_finished(self, library, tmp_path):
        """A training that is kept and has ended has nothing left to do, and gives its model and history again."""
        exact = {"deterministic": True, "force_row_wise": True} if library.name == "LightGBM" else {}
        keep = {"delete_checkpoint": False}
        first = library.train([BackupAndRestore(tmp_path, **keep), EarlyStopping(patience=2)], **exact)
        history = library.bridge.history.history
        notes = Notes()
        second = library.train([BackupAndRestore(tmp_path, **keep), EarlyStopping(patience=2), notes], **exact)

        assert library.trees(first) == library.trees(second)
        assert history == library.bridge.history.history
        assert [] == notes.told

    def test_exception(self, library, tmp_path):
        """After an exception, training goes on with the round after the last one that was backed up."""
        exact = {"deterministic": True, "force_row_wise": True} if library.name == "LightGBM" else {}

        class PowerCut(Callback):
            def on_epoch_begin(self, epoch, logs=None):
                if epoch == 3 and not self.run.resumed:
                    raise RuntimeError("power cut")

        with pytest.raises(RuntimeError, match="power cut"):
            library.train([BackupAndRestore(tmp_path), PowerCut()], 5, **exact)
        again = library.train([BackupAndRestore(tmp_path), PowerCut(), notes := Notes()], 5, **exact)

        assert library.trees(library.train([], 5, **exact)) == library.trees(again)
        assert "round 3" == notes.told[1]
        assert 5 == len(library.bridge.history.epoch)

    @pytest.mark.parametrize(
        ("name", "settings", "told"),
        [
            ("XGBoost", {"subsample": 0.5}, r"random numbers \(subsample=0\.5\)"),
            ("XGBoost", {"colsample_bytree": 0.5, "seed_per_iteration": True}, "random numbers"),
            ("XGBoost", {"booster": "dart", "rate_drop": 0.5}, "pass seed_per_iteration=True"),
            ("XGBoost", {"booster": "gblinear"}, "pass updater='coord_descent'"),
            ("LightGBM", {"deterministic": False}, "pass deterministic=True"),
            ("LightGBM", {"bagging_fraction": 0.5, "bagging_freq": 1}, r"random numbers \(bagging_fraction=0\.5\)"),
            ("LightGBM", {"feature_fraction": 0.5}, "random numbers"),
            ("LightGBM", {"boosting": "dart"}, "leave it at gbdt"),
            ("LightGBM", {"cegb_penalty_feature_coupled": [1.0] * 30}, "leave it at none"),
        ],
    )
    def test_inexact(self, name, settings, told, libraries, tmp_path):
        """A training that would end with another model is refused at the start, with what to change."""
        library = libraries.get(name)
        if library is None:
            pytest.skip(f"{name} is not installed")
        exact = {"deterministic": True, "force_row_wise": True} if name == "LightGBM" else {}
        with pytest.raises(ArgumentError, match=told):
            library.train(BackupAndRestore(tmp_path), 1, **exact | settings)

    def test_another_training(self, library, tmp_path):
        """A training with other settings is refused, and what differs is named."""
        exact = {"deterministic": True, "force_row_wise": True} if library.name == "LightGBM" else {}
        library.train(BackupAndRestore(tmp_path, delete_checkpoint=False), 1, **exact)
        with pytest.raises(CheckpointMismatch, match=r"max_depth was .*, is 2"):
            library.train(BackupAndRestore(tmp_path), 2, max_depth=2, **exact)

    def test_best_round_before(self, library, tmp_path):
        """A best round from before the interruption is put back as one from after it is."""
        exact = {"deterministic": True, "force_row_wise": True} if library.name == "LightGBM" else {}
        stopper, path = EarlyStopping(patience=3, restore_best_weights=True), tmp_path / f"model{library.suffix}"
        booster = library.train(stopper, **exact)
        last = stopper.stopped_epoch

        class PowerCut(Callback):
            def on_epoch_begin(self, epoch, logs=None):
                if epoch == last and not self.run.resumed:
                    raise RuntimeError("power cut")

        for _ in range(2):
            callbacks = [BackupAndRestore(tmp_path / "backup"), PowerCut(), EarlyStopping(patience=3, restore_best_weights=True)]
            with suppress(RuntimeError):
                again = library.train([*callbacks, end := at_the_end(lambda logs: end.model.save(path))], **exact)

        assert library.trees(booster) == library.trees(again)
        assert library.predict(booster) == library.predict(library.read(path))
