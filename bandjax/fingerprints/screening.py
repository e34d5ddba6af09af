"""Screening by a classifier: how many qualifying crystals are found from a few labelled ones.

A balanced random forest (every tree sees as many of either class) is trained on a part of a collection and asked about all
of the rest. The parts are drawn at random with each class in its share, at least one of each, and are the same for all
feature sets. What a forest may choose is searched on the training part alone, by cross-validation in five folds with
balanced accuracy as the score.

    recall = TP/(TP + FN)     precision = TP/(TP + FP)     balanced accuracy = (TP/(TP + FN) + TN/(TN + FP))/2
    F1 = 2 TP/(2 TP + FP + FN)     average precision = Σ_i (R_i − R_i−1) P_i over the thresholds of the forest's score

Source: the protocol of A. Zadoks, A. Marrazzo, N. Marzari, npj Comput. Mater. (2024), after: 500 trees, five folds, 28
training sizes from 0.1 to 80 %, 30 repeats, a dummy among the baselines. What is searched, its score and the stratified
draw are our choice.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bandjax import checks

DUMMY = "dummy"
"""Name of the feature set that is none: labels drawn with the classes' shares in the training part."""


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How a forest is trained.

    Attributes:
        trees: Of the forest.
        folds: Of the search; fewer where the rarer class has fewer members, none where it has one.
        search_trees: Of the forests of the search.
        features_a_split: Searched: what part of the features a split may choose among, "sqrt" or a number in (0, 1].
        smallest_leaf: Searched: how many members a leaf must have.
    """

    trees: int = 500
    folds: int = 5
    search_trees: int = 50
    features_a_split: tuple[str | float, ...] = ("sqrt", 0.3, 1.0)
    smallest_leaf: tuple[int, ...] = (1, 3)


class Screening(NamedTuple):
    """What one training found on the rest of the collection.

    Attributes:
        metrics: "recall", "precision" (NaN where nothing was called positive), "balanced_accuracy", "f1", "accuracy",
            "average_precision", "prevalence".
        score: Probability of the class of each asked member, (asked,).
        chosen: What the search chose; empty of the dummy, and where there was nothing to search with.
    """

    metrics: dict[str, float]
    score: np.ndarray
    chosen: dict[str, Any]


def training_sizes(count: int, *, steps: int = 28, smallest: float = 0.001, largest: float = 0.8) -> tuple[int, ...]:
    """Sizes of training parts, even in their logarithm, at least 2, each once.

    Args:
        count: Of the collection.
        steps: How many, before equal ones are dropped.
        smallest, largest: Parts of the collection, in (0, 1).
    """
    if not 0 < smallest < largest < 1:
        raise ValueError(f"Arguments `smallest` < `largest` must lie in (0, 1), but are {smallest:g} and {largest:g}.")
    sizes = np.round(np.geomspace(smallest, largest, steps) * count).astype(int)
    return tuple(int(n) for n in np.unique(np.maximum(sizes, 2)))


def training_split(label: ArrayLike, size: int, *, repeat: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Indices of a training part and of the rest: the same for every feature set.

    Args:
        label: Whether each member qualifies, (member,).
        size: Of the training part: at least 2, and at most one less than the collection.
        repeat, seed: Of the draw.

    Returns:
        Both ascending. Each class has its share in the training part, rounded, but at least one member, and leaves at least one to be asked about
        where it has two.

    Raises:
        ValueError: a class is empty, or a size out of range.
    """
    label = _as_labels(label)
    if not 2 <= size < len(label):
        raise ValueError(f"Argument `size` must lie in 2 … {len(label) - 1}, but is {size}.")
    rng = np.random.default_rng([seed, size, repeat])
    yes, no = np.flatnonzero(label), np.flatnonzero(~label)
    most_yes, most_no = max(1, len(yes) - 1), max(1, len(no) - 1)
    least, most = max(1, size - most_no), min(size - 1, most_yes)
    some = int(np.clip(round(size * len(yes) / len(label)), min(least, most), most))
    train = np.sort(np.concatenate([rng.permutation(yes)[:some], rng.permutation(no)[: size - some]]))
    return train, np.setdiff1d(np.arange(len(label)), train)


def screen(
    features: ArrayLike | None,
    label: ArrayLike,
    train: ArrayLike,
    asked: ArrayLike,
    *,
    protocol: Protocol | None = None,
    seed: int = 0,
    jobs: int | None = None,
) -> Screening:
    """Train on one part of a collection and ask about another.

    Args:
        features: (member, feature), finite; None: the dummy.
        label: Whether each member qualifies, (member,).
        train, asked: Indices of both parts; see `training_split`.
        protocol: How; None: 500 trees, five folds.
        seed: Of the forest.
        jobs: Processes or threads, as scikit-learn counts them.

    Raises:
        ImportError: scikit-learn or imbalanced-learn is not installed.
        ValueError: the training part has one class only, the asked part shares a member with it, is empty or has none that qualifies, features that are
            not finite or do not fit the labels.
    """
    label, train, asked = _as_labels(label), np.asarray(train), np.asarray(asked)
    protocol = Protocol() if protocol is None else protocol
    found = label[train]
    if found.all() or not found.any():
        raise ValueError(
            f"Argument `train` must hold members of both classes, but all {len(train)} {'qualify' if len(train) and found.all() else 'fail'}."
        )
    shared = np.intersect1d(train, asked)
    if shared.size:
        raise ValueError(
            f"Argument `asked` must hold no member of `train`, but shares {shared.size} with it, such as {shared[0]}."
        )
    if not label[asked].any():
        raise ValueError(f"Argument `asked` must hold members that qualify, but none of its {len(asked)} does.")
    if features is None:
        score, predicted = _dummy(found, len(asked), seed)
        return Screening(screening_metrics(label[asked], predicted, score), score, {})
    features = np.asarray(features)
    checks.shape_is("features", features, (len(label), "feature"))
    checks.finite("features", features)
    forest, chosen = _trained(features[train], found, protocol, seed, jobs)
    score = forest.predict_proba(features[asked])[:, list(forest.classes_).index(True)]
    return Screening(screening_metrics(label[asked], score > 0.5, score), score, chosen)


def screening_sweep(
    features: Mapping[str, ArrayLike | None],
    label: ArrayLike,
    *,
    sizes: Sequence[int],
    repeats: int,
    protocol: Protocol | None = None,
    seed: int = 0,
    jobs: int | None = None,
    done: Sequence[tuple[str, int, int]] = (),
) -> Iterator[dict[str, Any]]:
    """Rows of a sweep over training sizes, one after the other, so that the caller can keep them on the way.

    Args:
        features: Feature sets by name; `DUMMY` may be None.
        label: Whether each member qualifies, (member,).
        sizes: Of the training parts.
        repeats: Draws of each size.
        protocol, seed, jobs: As in `screen`.
        done: (features, size, repeat) of rows that are there already and are left out.

    Yields:
        {"features": name, "size": …, "repeat": …, "chosen": …} and the metrics.
    """
    there = set(done)
    for size in sizes:
        for repeat in range(repeats):
            train, asked = training_split(label, size, repeat=repeat, seed=seed)
            for name, values in features.items():
                if (name, size, repeat) not in there:
                    found = screen(values, label, train, asked, protocol=protocol, seed=repeat, jobs=jobs)
                    yield {"features": name, "size": size, "repeat": repeat, "chosen": found.chosen, **found.metrics}


def precision_recall(label: ArrayLike, score: ArrayLike, recall: ArrayLike) -> np.ndarray:
    """Best precision among the thresholds that reach each recall, (recall,): the curve that does not rise.

    Args:
        label: Whether each member qualifies, (member,).
        score: The higher the likelier, (member,).
        recall: In (0, 1].
    """
    label = _as_labels(label)
    hits, called = _by_threshold(label, np.asarray(score))
    reached, precision = hits / label.sum(), hits / called
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return best[np.searchsorted(reached, np.asarray(recall) - 1e-12)]


def _as_labels(label: ArrayLike) -> np.ndarray:
    label = np.asarray(label)
    checks.shape_is("label", label, ("member",))
    if label.dtype != bool:
        raise ValueError(f"Argument `label` must hold True and False, but holds {label.dtype}.")
    if label.all() or not label.any():
        raise ValueError(
            f"Argument `label` must have members of both classes, but all {len(label)} are {bool(len(label) and label.all())}."
        )
    return label


def _dummy(found: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Score and calls of the classifier that knows the classes' shares only."""
    share = found.mean()
    drawn = np.random.default_rng(seed).random(count)
    return np.full(count, share), drawn < share


def _trained(
    features: np.ndarray, label: np.ndarray, protocol: Protocol, seed: int, jobs: int | None
) -> tuple[Any, dict]:
    try:
        from imblearn.ensemble import BalancedRandomForestClassifier
        from sklearn.model_selection import GridSearchCV, StratifiedKFold
    except ImportError as error:
        raise ImportError(
            f"Screening needs scikit-learn and imbalanced-learn; install them with pip install 'bandjax[fingerprints]' ({error})."
        ) from error

    def forest(trees: int, **chosen: Any) -> Any:
        return BalancedRandomForestClassifier(
            n_estimators=trees,
            sampling_strategy="all",
            replacement=True,
            bootstrap=False,
            random_state=seed,
            n_jobs=jobs,
            **chosen,
        )

    choices = {"max_features": list(protocol.features_a_split), "min_samples_leaf": list(protocol.smallest_leaf)}
    folds = min(protocol.folds, int(label.sum()), int((~label).sum()))
    chosen = {}
    if folds >= 2:
        parts = StratifiedKFold(folds, shuffle=True, random_state=seed)
        search = GridSearchCV(
            forest(protocol.search_trees),
            choices,
            scoring="balanced_accuracy",
            cv=parts,
            refit=False,
            error_score="raise",
        )
        chosen = dict(search.fit(features, label).best_params_)
    return forest(protocol.trees, **chosen).fit(features, label), chosen


def screening_metrics(label: ArrayLike, called: ArrayLike, score: ArrayLike) -> dict[str, float]:
    """Metrics of the module's head.

    Args:
        label: Whether each member qualifies, (member,).
        called: Whether it was called so, (member,).
        score: The higher the likelier, (member,).

    Returns:
        As `Screening.metrics`.

    Raises:
        ValueError: no member qualifies, or shapes that do not fit.
    """
    label, called, score = np.asarray(label, bool), np.asarray(called, bool), np.asarray(score)
    checks.shape_is("label", label, ("member",))
    checks.shape_is("called", called, label.shape)
    checks.shape_is("score", score, label.shape)
    if not label.any():
        raise ValueError(f"Argument `label` must have members that qualify, but none of {label.size} does.")
    hit, false, missed = (label & called).sum(), (~label & called).sum(), (label & ~called).sum()
    rejected = (~label & ~called).sum()
    recall = hit / (hit + missed)
    specificity = rejected / (rejected + false) if rejected + false else np.nan
    hits, so_far = _by_threshold(label, score)
    return {
        "recall": float(recall),
        "precision": float(hit / (hit + false)) if hit + false else float("nan"),
        "balanced_accuracy": float((recall + specificity) / 2),
        "f1": float(2 * hit / (2 * hit + false + missed)),
        "accuracy": float((hit + rejected) / len(label)),
        "average_precision": float(np.sum(np.diff(hits, prepend=0) * hits / so_far) / label.sum()),
        "prevalence": float(label.mean()),
    }


def _by_threshold(label: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hits and calls at each threshold, the highest first; equal scores are called together."""
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.diff(score[order]) != 0, True)
    return np.cumsum(label[order])[ends], (np.arange(len(label)) + 1)[ends]
