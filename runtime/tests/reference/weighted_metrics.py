"""Writes weighted_metrics.json: figures with sample weights on random data with many ties, for tests/metrics.rs.

Run: python weighted_metrics.py > weighted_metrics.json (numpy, scikit-learn). AUC, log loss, average precision, Brier score, RMSE and MAE
are scikit-learn's, with its `sample_weight`; GAUC is made of its AUC, normalized entropy of its log loss; XAUC is counted pair by pair.
Scores are multiples of 1/8, labels of 1/4 and weights of 1/16, so that they are exact in f32 and in JSON. Some weights are 0.
"""

import json

import numpy as np
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    log_loss,
    mean_absolute_error,
    mean_squared_error,
    roc_auc_score,
)

random = np.random.default_rng(20261129)
cases = []
for rows, groups, spread, rate in [(40, 5, 0.5, 0.5), (400, 30, 2.0, 0.3), (1000, 120, 1.0, 0.05)]:
    group = random.integers(0, groups, rows) * 1_000_003 - 5_000_000
    label = (random.random(rows) < rate).astype(int)
    label[:2] = [0, 1]
    score = np.round(random.normal(label * 0.8, spread) * 8) / 8
    number = np.round(random.normal(score, 1.0) * 4) / 4
    weight = np.round(random.exponential(1.0, rows) * 16) / 16
    weight[random.random(rows) < 0.1] = 0
    weight[:2] = 1
    probability = 1 / (1 + np.exp(-score))
    areas = []
    for key in np.unique(group):
        inside = (group == key) & (weight > 0)
        if 0 < label[inside].sum() < inside.sum():
            w = weight[inside]
            areas.append((roc_auc_score(label[inside], score[inside], sample_weight=w), w.sum(), w[label[inside] == 1].sum()))
    areas = np.array(areas)
    mean = np.average(label, weights=weight)
    less = number[:, None] < number[None, :]
    right = np.where(score[:, None] < score[None, :], 1.0, np.where(score[:, None] == score[None, :], 0.5, 0.0))
    pairs = weight[:, None] * weight[None, :] * less
    cases.append(
        {
            "group": group.tolist(),
            "label": label.tolist(),
            "score": score.tolist(),
            "number": number.tolist(),
            "weight": weight.tolist(),
            "auc": roc_auc_score(label, score, sample_weight=weight),
            "gauc_impressions": float(np.average(areas[:, 0], weights=areas[:, 1])),
            "gauc_clicks": float(np.average(areas[:, 0], weights=areas[:, 2])),
            "gauc_none": float(areas[:, 0].mean()),
            "groups": len(areas),
            "log_loss": float(log_loss(label, probability, sample_weight=weight)),
            "pr_auc": float(average_precision_score(label, score, sample_weight=weight)),
            "brier": float(brier_score_loss(label, probability, sample_weight=weight)),
            "normalized_entropy": float(
                log_loss(label, probability, sample_weight=weight) / log_loss(label, np.full(rows, mean), sample_weight=weight)
            ),
            "pcoc": float((weight * probability).sum() / (weight * label).sum()),
            "rmse": float(np.sqrt(mean_squared_error(number, score, sample_weight=weight))),
            "mae": float(mean_absolute_error(number, score, sample_weight=weight)),
            "xauc": float((pairs * right).sum() / pairs.sum()),
        }
    )
print(json.dumps(cases, separators=(",", ":")))
