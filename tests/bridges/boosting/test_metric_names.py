from jalon.bridges.boosting.metric_names import MetricNames, Result


def results(*told):
    return [Result(data, metric, value, direction) for data, metric, value, direction in told]


def test_several_sets():
    """The last set beside the training set is ``val_``; the others go by their own names."""
    names = MetricNames("fit")
    told = results(("fit", "mae", 1.0, "min"), ("test", "mae", 2.0, "min"), ("valid", "mae", 3.0, "min"))

    expected = {"mae": 1.0, "loss": 1.0, "test_mae": 2.0, "test_loss": 2.0, "val_mae": 3.0, "val_loss": 3.0}
    assert expected == names.logs(told)


def test_first_loss():
    """``loss`` is the first metric of which less is better, and not one of which more is."""
    names = MetricNames("train")
    told = results(("valid", "auc", 0.9, "max"), ("valid", "mine", 7.0, None), ("valid", "error", 0.1, "min"))

    assert {"val_auc": 0.9, "val_mine": 7.0, "val_error": 0.1, "val_loss": 0.1} == names.logs(told)
    assert ("max", None, "min") == tuple(map(names.directions.get, ("val_auc", "val_mine", "val_error")))


def test_own_loss():
    """A metric that is called ``loss`` is the loss, wherever it stands."""
    names = MetricNames("train")
    told = results(("train", "error", 0.1, "min"), ("train", "loss", 7.0, None))

    assert {"error": 0.1, "loss": 7.0} == names.logs(told)


def test_known_by_name():
    """Where the library does not tell which set is the training set, it is the one called ``train`` or ``training``."""
    told = results(("training", "mae", 1.0, "min"), ("other", "mae", 2.0, "min"))

    assert {"mae": 1.0, "loss": 1.0, "val_mae": 2.0, "val_loss": 2.0} == MetricNames(None).logs(told)
    assert {"val_mae": 1.0, "val_loss": 1.0, "mae": 2.0, "loss": 2.0} == MetricNames("other").logs(told)


def test_only_others():
    """With no training set among them, the last set is ``val_`` all the same."""
    assert {"val_mae": 2.0, "val_loss": 2.0} == MetricNames("train").logs(results(("x", "mae", 2.0, "min")))
