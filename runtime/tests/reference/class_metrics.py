"""Writes class_metrics.json: figures of scikit-learn on random logits of several classes and weights, for
tests/metrics.rs.

Run: python class_metrics.py > class_metrics.json (numpy, scikit-learn). Logits are multiples of 1/8 and
weights of 1/4, so that they are exact in f32 and in JSON; no sample has two largest logits.
"""

import json

import numpy as np
from sklearn.metrics import accuracy_score, log_loss

random = np.random.default_rng(20261129)
cases = []
for rows, classes, scale in [(40, 2, 1.0), (300, 3, 2.0), (150, 7, 0.5), (60, 40, 3.0)]:
    label = random.integers(0, classes, rows)
    logits = random.normal(0, scale, (rows, classes))
    logits[np.arange(rows), label] += scale
    logits = np.round(logits * 8) / 8
    best = np.sort(logits, axis=1)
    tied = np.flatnonzero(best[:, -1] == best[:, -2])
    logits[tied, logits[tied].argmax(axis=1)] += 1 / 8
    weight = random.integers(0, 9, rows) / 4
    probability = np.exp(logits - logits.max(axis=1, keepdims=True))
    probability /= probability.sum(axis=1, keepdims=True)
    assert probability[np.arange(rows), label].min() > 1e-15, "scikit-learn clips less"
    predicted, every = logits.argmax(axis=1), list(range(classes))
    cases.append(
        {
            "classes": classes,
            "label": label.tolist(),
            "logits": logits.ravel().tolist(),
            "weight": weight.tolist(),
            "accuracy": float(accuracy_score(label, predicted)),
            "weighted_accuracy": float(accuracy_score(label, predicted, sample_weight=weight)),
            "log_loss": float(log_loss(label, probability, labels=every)),
            "weighted_log_loss": float(log_loss(label, probability, labels=every, sample_weight=weight)),
        }
    )
print(json.dumps(cases, separators=(",", ":")))
