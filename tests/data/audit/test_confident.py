"""Confident learning: the joint and the pruned rows are cleanlab's; the classifier under it learns what there is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etude.data.audit.classifier import FOLDS, cross_validated, fits, folds, ridge
from etude.data.audit.confident import confident_joint, likely_wrong, thresholds
from etude.data.audit.vectors import learned


def made(
    seed: int, *, rows: int = 400, labels: int = 5, noise: float = 0.1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(given labels, chances, which labels were changed)."""
    draw = np.random.default_rng(seed)
    true = draw.integers(0, labels, rows)
    scores = draw.normal(size=(rows, labels))
    scores[np.arange(rows), true] += 2.5
    chances = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    changed = draw.random(rows) < noise
    return np.where(changed, draw.integers(0, labels, rows), true), chances, changed


@pytest.mark.parametrize("seed", range(6))
def test_as_cleanlab_does(seed: int) -> None:
    from cleanlab.count import compute_confident_joint, get_confident_thresholds
    from cleanlab.filter import find_label_issues

    labels, chances, _ = made(seed, labels=3 + seed)
    assert np.allclose(thresholds(labels, chances), get_confident_thresholds(labels, chances))
    theirs = compute_confident_joint(labels, chances, calibrate=True)
    assert np.abs(confident_joint(labels, chances) - theirs).max() <= 1  # halves may be rounded the other way
    ours = likely_wrong(labels, chances)
    issues = find_label_issues(labels, chances, filter_by="prune_by_noise_rate", n_jobs=1)
    assert np.count_nonzero(ours != issues) <= max(2, 0.03 * issues.sum())


@given(st.integers(0, 10_000), st.integers(2, 8))
@settings(max_examples=30)
def test_the_joint_counts_every_row_once(seed: int, labels: int) -> None:
    held, chances, _ = made(seed, labels=labels, rows=120)
    joint = confident_joint(held, chances)
    assert (joint >= 0).all()
    assert joint.sum(axis=1).tolist() == np.bincount(held, minlength=labels).tolist()


def test_right_labels_that_are_sure_are_never_wrong() -> None:
    labels = np.repeat(np.arange(4), 30)
    chances = np.full((120, 4), 0.01)
    chances[np.arange(120), labels] = 0.97
    assert not likely_wrong(labels, chances).any()


def test_folds_spread_every_label() -> None:
    labels = np.array([0] * 50 + [1] * 13 + [2] * 7)
    found = folds(labels, seed=1)
    for label in range(3):
        counts = np.bincount(found[labels == label], minlength=FOLDS)
        assert counts.max() - counts.min() <= 1
    assert (found == folds(labels, seed=1)).all()


def test_ridge_solves_its_equation() -> None:
    from sklearn.linear_model import Ridge

    draw = np.random.default_rng(0)
    vectors, targets = draw.normal(size=(60, 6)).astype(np.float32), draw.normal(size=(60, 3)).astype(np.float32)
    theirs = Ridge(alpha=1.0, fit_intercept=False).fit(vectors, targets).coef_.T
    assert np.allclose(ridge(vectors, targets), theirs, atol=1e-3)


def test_a_row_does_not_vote_for_itself() -> None:
    """On features that mean nothing cross-validated chances cannot beat guessing, though fitting would."""
    draw = np.random.default_rng(0)
    vectors, labels = draw.normal(size=(200, 150)).astype(np.float32), draw.integers(0, 2, 200)
    fold = folds(labels, seed=0)
    found = cross_validated(vectors, labels, fold, fits(vectors, labels, fold, 2))
    assert np.allclose(found.chances_NK.sum(axis=1), 1)
    assert abs(found.accuracy - 0.5) < 0.12
    assert not found.is_conclusive


def test_classifiers_that_are_always_right_are_not_endlessly_sure() -> None:
    labels = np.repeat(np.arange(3), 40)
    vectors = np.eye(3, dtype=np.float32)[labels] + np.random.default_rng(0).normal(size=(120, 3)).astype("f") / 20
    fold = folds(labels, seed=0)
    found = cross_validated(vectors, labels, fold, fits(vectors, labels, fold, 3))
    assert found.accuracy == 1
    assert 0.97 < found.chances_NK.max(axis=1).mean() < 0.999


def test_texts_are_weighed_by_what_others_taught() -> None:
    texts = ["where is my parcel", "where is my card", "my card is lost", "the parcel is lost"]
    words, vectors = learned(texts)
    assert abs(words.vectors(texts[:2]) - vectors[:2]).max() < 1e-6
    assert abs(words.vectors(["a word that none of them has"])).sum() == 0
    few, _ = learned(texts, most=2)
    assert set(few.kept_D) < set(words.kept_D)
    assert few.weights_D.max() == words.weights_D.min(), "the commonest"
