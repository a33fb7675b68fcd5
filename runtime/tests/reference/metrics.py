"""Writes metrics.json: figures of scikit-learn on random data with many ties, for tests/metrics.rs.

Run: python metrics.py > metrics.json (numpy, scikit-learn). Scores are multiples of 1/8, so that they are exact in f32 and in JSON.
"""

import json

import numpy as np
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, ndcg_score, roc_auc_score

random = np.random.default_rng(20260101)
cases = []
for rows, groups, levels, rate in [(40, 5, 3, 0.5), (400, 30, 12, 0.3), (1200, 150, 60, 0.1), (1000, 7, 400, 0.02), (60, 40, 2, 0.5)]:
    group = random.integers(0, groups, rows) * 1_000_003 - 5_000_000
    label = (random.random(rows) < rate).astype(int)
    label[:2] = [0, 1]
    score = np.round(random.normal(label * 0.8, 1.5) * levels / 8) / levels * 8
    score = np.round(score * 8) / 8
    gauc = {}
    areas = []
    for key in np.unique(group):
        inside = group == key
        if 0 < label[inside].sum() < inside.sum():
            areas.append((roc_auc_score(label[inside], score[inside]), inside.sum(), label[inside].sum()))
    areas = np.array(areas)
    ndcg = {k: [] for k in (1, 3, 10)}
    for key in np.unique(group):
        inside = group == key
        if label[inside].sum() == 0:
            continue
        for k, values in ndcg.items():
            # scikit-learn refuses a group of one sample, whose only order is the best one.
            values.append(ndcg_score([label[inside]], [score[inside]], k=k) if inside.sum() > 1 else 1.0)
    rate = label.mean()
    probability = 1 / (1 + np.exp(-score))
    cases.append(
        {
            "group": group.tolist(),
            "label": label.tolist(),
            "score": score.tolist(),
            "auc": roc_auc_score(label, score),
            "gauc_impressions": float(np.average(areas[:, 0], weights=areas[:, 1])),
            "gauc_clicks": float(np.average(areas[:, 0], weights=areas[:, 2])),
            "gauc_none": float(areas[:, 0].mean()),
            "groups": len(areas),
            "skipped_groups": int(len(np.unique(group)) - len(areas)),
            "log_loss": float(log_loss(label, probability)),
            "pr_auc": float(average_precision_score(label, score)),
            "brier": float(brier_score_loss(label, probability)),
            "normalized_entropy": float(log_loss(label, probability) / log_loss(label, np.full(rows, rate))),
            "pcoc": float(probability.sum() / label.sum()),
            "ndcg": [[k, float(np.mean(values))] for k, values in ndcg.items()],
        }
    )
print(json.dumps(cases, separators=(",", ":")))
