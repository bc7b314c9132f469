"""Both libraries, as far as they are alike, on scikit-learn's breast cancer data."""

from importlib.util import find_spec

import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

import jalon

X, X_VALID, Y, Y_VALID = train_test_split(*load_breast_cancer(return_X_y=True), random_state=0)
ROUNDS = 40


class XGBoost:
    name = "XGBoost"
    suffix = ".ubj"
    loss = "logloss"

    def train(self, callbacks, rounds=ROUNDS, *, metric=None, objective="binary:logistic", others=(), **params):
        import xgboost

        train, valid = xgboost.DMatrix(X, Y), xgboost.DMatrix(X_VALID, Y_VALID)
        params = {"objective": objective, "eta": 0.5, "nthread": 1, "eval_metric": ["auc", "logloss"]} | params
        obj = params.pop("objective") if callable(objective) else None
        self.bridge = jalon.bridges.xgboost(callbacks)
        return xgboost.train(
            params,
            train,
            rounds,
            evals=[(train, "train"), (valid, "valid")],
            obj=obj,
            custom_metric=metric,
            callbacks=[self.bridge, *others],
            verbose_eval=False,
        )

    def cv(self, callbacks, rounds=ROUNDS, *, others=()):
        import xgboost

        self.bridge = jalon.bridges.xgboost(callbacks)
        params = {"objective": "binary:logistic", "eta": 0.5, "nthread": 1}
        told = xgboost.cv(params, xgboost.DMatrix(X, Y), rounds, callbacks=[self.bridge, *others], as_pandas=False)
        return told["test-logloss-mean"]

    def classifier(self, callbacks):
        import xgboost

        self.bridge = jalon.bridges.xgboost(callbacks)
        model = xgboost.XGBClassifier(n_estimators=ROUNDS, learning_rate=0.5, n_jobs=1, callbacks=[self.bridge])
        return model.fit(X, Y, eval_set=[(X, Y), (X_VALID, Y_VALID)], verbose=False)

    def rounds(self, booster):
        return booster.num_boosted_rounds()

    def read(self, path):
        import xgboost

        return xgboost.Booster(model_file=path)

    def predict(self, booster):
        import xgboost

        return booster.predict(xgboost.DMatrix(X_VALID)).tolist()

    def stopping_at(self, epoch):
        """Return a callback of the library's own kind that ends training."""
        import xgboost

        class Stop(xgboost.callback.TrainingCallback):
            def after_iteration(self, model, epoch_, evals_log):
                return epoch_ == epoch

        return Stop()

    def raising(self):
        """Return a callback of the library's own kind that fails."""
        import xgboost

        class Fail(xgboost.callback.TrainingCallback):
            def after_iteration(self, model, epoch, evals_log):
                raise ZeroDivisionError

        return Fail()

    def scheduling(self, rate):
        import xgboost

        return xgboost.callback.LearningRateScheduler(rate)

    def trees(self, booster):
        return booster.get_dump()


class LightGBM:
    name = "LightGBM"
    suffix = ".txt"
    loss = "binary_logloss"

    def train(self, callbacks, rounds=ROUNDS, *, metric=None, objective="binary", others=(), **params):
        import lightgbm

        train = lightgbm.Dataset(X, Y, free_raw_data=False)
        valid = train.create_valid(X_VALID, Y_VALID)
        params = {
            "objective": objective,
            "learning_rate": 0.5,
            "num_threads": 1,
            "verbosity": -1,
            "metric": ["auc", "binary_logloss"],
        } | params
        self.bridge = jalon.bridges.lightgbm(callbacks)
        return lightgbm.train(params, train, rounds, valid_sets=[train, valid], feval=metric, callbacks=[*others, self.bridge])

    def cv(self, callbacks, rounds=ROUNDS, *, others=()):
        import lightgbm

        self.bridge = jalon.bridges.lightgbm(callbacks)
        params = {"objective": "binary", "learning_rate": 0.5, "num_threads": 1, "verbosity": -1}
        told = lightgbm.cv(params, lightgbm.Dataset(X, Y), rounds, callbacks=[*others, self.bridge])
        return told["valid binary_logloss-mean"]

    def classifier(self, callbacks):
        import lightgbm

        self.bridge = jalon.bridges.lightgbm(callbacks)
        model = lightgbm.LGBMClassifier(n_estimators=ROUNDS, learning_rate=0.5, n_jobs=1, verbosity=-1)
        return model.fit(X, Y, eval_X=(X, X_VALID), eval_y=(Y, Y_VALID), eval_names=["train", "valid"], callbacks=[self.bridge])

    def rounds(self, booster):
        return booster.current_iteration()

    def read(self, path):
        import lightgbm

        return lightgbm.Booster(model_file=path)

    def predict(self, booster):
        return booster.predict(X_VALID, num_threads=1).tolist()

    def stopping_at(self, epoch):
        """Return a callback of the library's own kind that ends training."""
        import lightgbm

        def stop(env):
            if env.iteration == epoch:
                raise lightgbm.callback.EarlyStopException(epoch, env.evaluation_result_list)

        return stop

    def raising(self):
        """Return a callback of the library's own kind that fails."""

        def fail(env):
            raise ZeroDivisionError

        return fail

    def scheduling(self, rate):
        import lightgbm

        return lightgbm.reset_parameter(learning_rate=rate)

    def trees(self, booster):
        return [tree["tree_structure"] for tree in booster.dump_model()["tree_info"]]


LIBRARIES = [library for library in (XGBoost, LightGBM) if find_spec(library.__name__.lower())]


@pytest.fixture(params=LIBRARIES, ids=lambda library: library.name)
def library(request):
    return request.param()


@pytest.fixture
def libraries():
    return {library.name: library() for library in LIBRARIES}
