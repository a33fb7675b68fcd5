"""What PyTorch rounds f32 to in BF16, bit by bit: `fixtures/bf16_rounding.json`.

Pairs of bits: of an f32, and of the BF16 that `Tensor.to(torch.bfloat16)` makes of it. The values are
zeros, infinities, NaNs, the ends of the range, ties to even and their neighbours at every exponent,
and random bits.
"""

import json
import pathlib

import numpy as np
import torch

FIXTURES = pathlib.Path(__file__).parent / "fixtures"


def values() -> np.ndarray:
    edges = [0x00000000, 0x00000001, 0x00007FFF, 0x00008000, 0x00008001, 0x00018000, 0x007FFFFF, 0x00800000]
    # The largest finite numbers, those that round beyond them, infinity and NaNs.
    edges += [0x7F7EFFFF, 0x7F7F0000, 0x7F7F7FFF, 0x7F7F8000, 0x7F7FFFFF, 0x7F800000]
    edges += [0x7F800001, 0x7F807FFF, 0x7F808000, 0x7FC00000, 0x7FFFFFFF]
    # Ties, to an even and to an odd last bit, and what lies beside them.
    for exponent in range(0, 255, 6):
        for upper in (0x00, 0x01, 0x3E, 0x7F):
            tie = exponent << 23 | upper << 16 | 0x8000
            edges += [tie - 1, tie, tie + 1]
    random = np.random.default_rng(16).integers(0, 1 << 32, 500, dtype=np.uint64)
    both = [bits | sign for bits in edges for sign in (0, 1 << 31)]
    return np.concatenate([np.array(both, dtype=np.uint64), random]).astype(np.uint32)


def main() -> None:
    bits = values()
    numbers = torch.from_numpy(bits.view(np.float32).copy())
    rounded = numbers.to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
    # The way back is exact: the upper half of the f32.
    back = torch.from_numpy(rounded.view(np.int16).copy()).view(torch.bfloat16).to(torch.float32).numpy()
    exact = (rounded.astype(np.uint32) << 16).view(np.float32)
    assert np.array_equal(back, exact, equal_nan=True)
    pairs = [[int(a), int(b)] for a, b in zip(bits, rounded)]
    (FIXTURES / "bf16_rounding.json").write_text(json.dumps(pairs, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
