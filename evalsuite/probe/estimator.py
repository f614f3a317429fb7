"""The probe as an estimator of scikit-learn's kind, for use without the harness."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d, validate_data

from evalsuite.probe.solver import Prepared, Targets
from evalsuite.probe.sweep import best_plateau


class LogisticProbe(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """L2-regularised multinomial logistic regression, solved to a given suboptimality.

    It minimises scikit-learn's objective, ``C * sum of losses + |W|^2 / 2`` with a free intercept, by preconditioned
    L-BFGS, for one `C` or for several values of lambda = 1 / C of which a validation set chooses.

    Parameters
    ----------
    C : inverse of the regularisation strength; None if `lambdas` is given.
    lambdas : values of lambda to choose from, by `validation` in :meth:`fit`; exactly one of both is given.
    tol : relative suboptimality (F - F*) / max(F*, 1e-3 n_samples) at which a fit stops.
    max_iter : iterations of a fit at most.

    Attributes
    ----------
    classes_ : (n_classes,) the labels.
    coef_, intercept_ : (1, n_features) and (1,) for two classes, else (n_classes, n_features) and (n_classes,).
    n_iter_ : (1,) iterations of the fit that is used.
    lambda_ : lambda of the fit that is used; of neighbours with equal validation accuracies, the middle one.
    converged_ : whether that fit reached `tol`.
    n_features_in_ : number of features.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from evalsuite.probe import LogisticProbe
    >>> X, y = load_digits(return_X_y=True)
    >>> probe = LogisticProbe(C=0.01).fit(X[:900], y[:900])
    >>> round(probe.score(X[900:], y[900:]), 2)
    0.94
    """

    def __init__(
        self,
        C: float | None = 1.0,
        *,
        lambdas: Sequence[float] | None = None,
        tol: float = 1e-8,
        max_iter: int = 1000,
    ) -> None:
        self.C = C
        self.lambdas = lambdas
        self.tol = tol
        self.max_iter = max_iter

    def fit(self, X: Any, y: Any, validation: tuple[Any, Any] | None = None) -> LogisticProbe:
        """Fit features (n_samples, n_features), on the device of a tensor, to labels (n_samples,).

        validation: features and labels that choose among `lambdas`, by accuracy. Raises ValueError for what does not
        fit together.
        """
        if (self.C is None) == (self.lambdas is None):
            raise ValueError("Give exactly one of C and lambdas (with lambdas, say C=None).")
        if (self.lambdas is None) != (validation is None):
            raise ValueError("A validation set belongs to lambdas: give both or neither.")
        features, labels = self._checked(X, y)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"A probe needs samples of at least 2 classes; there is only one class: {self.classes_}.")
        targets = Targets("multinomial", torch.from_numpy(codes).to(features.device), len(self.classes_))
        lambdas = [1 / self.C] if self.C is not None else list(self.lambdas or ())
        found = Prepared(features, targets).solve(lambdas, self.tol, self.max_iter)
        best = 0 if validation is None else self._choose(found, *validation)
        weights, intercepts = found.weights[best].cpu().numpy(), found.intercepts[best].cpu().numpy()
        if len(self.classes_) == 2:
            weights, intercepts = weights[1:] - weights[:1], intercepts[1:] - intercepts[:1]
        self.coef_, self.intercept_ = weights, intercepts
        self.n_iter_ = np.array([found.iterations[best]])
        self.lambda_, self.converged_ = found.lambdas[best], found.converged[best]
        return self

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Return the logits (n_samples, n_classes); for two classes (n_samples,), of the second against the first."""
        check_is_fitted(self)
        features = self._features(X, reset=False).double().cpu().numpy()
        logits: NDArray[np.float64] = features @ self.coef_.T + self.intercept_
        return logits[:, 0] if len(self.classes_) == 2 else logits

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the probabilities (n_samples, n_classes), in the order of `classes_`."""
        logits = torch.from_numpy(self.decision_function(X))
        if logits.ndim == 1:
            logits = torch.stack([torch.zeros_like(logits), logits], dim=1)
        probabilities: NDArray[np.float64] = torch.softmax(logits, dim=1).numpy()
        return probabilities

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable class of each sample (n_samples,)."""
        logits = self.decision_function(X)
        codes = (logits > 0).astype(int) if logits.ndim == 1 else logits.argmax(axis=1)
        labels: NDArray[Any] = self.classes_[codes]
        return labels

    def _choose(self, found: Any, X: Any, y: Any) -> int:
        """Return the index of the lambda with the highest accuracy; of equal neighbours, the middle one."""
        features = self._features(X, reset=False).to(found.weights.device)
        expected = np.asarray(y.cpu() if torch.is_tensor(y) else y)
        accuracies = [
            float((self.classes_[found.logits(index, features).argmax(dim=1).cpu().numpy()] == expected).mean())
            for index in range(len(found.lambdas))
        ]
        order = sorted(range(len(accuracies)), key=found.lambdas.__getitem__)
        _, middle, _ = best_plateau({place: accuracies[index] for place, index in enumerate(order)})
        return order[middle]

    def _checked(self, X: Any, y: Any) -> tuple[torch.Tensor, NDArray[Any]]:
        if torch.is_tensor(y):
            y = y.cpu().numpy()
        if torch.is_tensor(X):
            features, labels = self._features(X, reset=True), column_or_1d(y, warn=True)
            check_consistent_length(features, labels)
        else:
            array, labels = validate_data(self, X, y, dtype=[np.float64, np.float32])
            features = torch.from_numpy(np.require(array, requirements=["C", "W"]))
        check_classification_targets(labels)
        return features, labels

    def _features(self, X: Any, *, reset: bool) -> torch.Tensor:
        if not torch.is_tensor(X):
            array = validate_data(self, X, dtype=[np.float64, np.float32], reset=reset)
            return torch.from_numpy(np.require(array, requirements=["C", "W"]))
        features: torch.Tensor = X if X.is_floating_point() else X.double()
        if reset:
            self.n_features_in_ = X.shape[-1]
        elif X.shape[-1] != self.n_features_in_:
            raise ValueError(f"X has {X.shape[-1]} features, but LogisticProbe is expecting {self.n_features_in_}.")
        return features
