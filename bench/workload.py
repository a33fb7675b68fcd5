"""Sizes of the step benchmark: DIN with three ids of 16, activation unit 192-80-40-1 with sigmoid, MLP 176-200-80-1 with Dice.

`din_step.din` says the same in the language; the runner fails where losses disagree.
"""

import os

WIDTH = 16
# Rows of the tables of the item's three ids, read by the candidate and by every entry of its history.
# `BENCH_GOODS` changes the first, for the cost of large tables.
ITEMS = {"good": int(os.environ.get("BENCH_GOODS", "100000")), "shop": 10_000, "cate": 1_000}
# One id a sample each, user first, then scene: 5 x 16 of the MLP's input.
# Weights of longer tables are not written: every side begins with its own.
LARGE = 1 << 20
SCALARS = {"gender": 2, "age_level": 10, "city": 400, "pid": 10, "time": 24}
UNIT = (80, 40)
HIDDEN = (200, 80)
ITEM_WIDTH = WIDTH * len(ITEMS)
MLP_WIDTH = WIDTH * len(SCALARS) + 2 * ITEM_WIDTH
MOMENTUM = 0.99
EPS = 1e-8
LR = 1e-3
