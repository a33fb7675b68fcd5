"""Writes numeric_metrics.json: figures of scikit-learn and SciPy on random numbers with many ties, for tests/metrics.rs.

Run: python numeric_metrics.py > numeric_metrics.json (numpy, scipy, scikit-learn). Values are multiples of 1/8, so that they are exact
in f32 and in JSON. XAUC is (1 + d) / 2, where d is Somers' D of the predictions with respect to the labels.
"""

import json

import numpy as np
from scipy.stats import somersd
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

random = np.random.default_rng(20261130)
cases = []
for rows, spread in [(30, 1.0), (300, 2.0), (800, 40.0), (50, 0.3)]:
    label = np.round(random.gamma(2.0, spread, rows) * 8) / 8
    prediction = np.round((label + random.normal(0, 2 * spread, rows)) * 8) / 8
    cases.append(
        {
            "label": label.tolist(),
            "prediction": prediction.tolist(),
            "rmse": float(root_mean_squared_error(label, prediction)),
            "mae": float(mean_absolute_error(label, prediction)),
            "xauc": float((1 + somersd(label, prediction).statistic) / 2),
        }
    )
print(json.dumps(cases, separators=(",", ":")))
