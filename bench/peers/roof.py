"""What a device reaches in PyTorch, as one line of JSON: bytes a second of a copy, operations a second of a large matrix product by precision.

    python bench/peers/roof.py cuda:0 [--size 8192]
"""

import argparse
import json
import time

import torch


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("device")
    parser.add_argument("--size", type=int, default=8192, help="rows and columns of the product; a copy has 16 times as many bytes as they have")
    arguments = parser.parse_args()
    n, on_gpu = arguments.size, arguments.device != "cpu"
    if on_gpu:
        torch.cuda.set_device(arguments.device)
    torch.set_default_device(arguments.device)

    def wait():
        if on_gpu:
            torch.cuda.synchronize(arguments.device)

    def rate(f, amount):
        f()
        f()
        wait()
        best = float("inf")
        for _ in range(5):
            start = time.perf_counter()
            for _ in range(4):
                f()
            wait()
            best = min(best, (time.perf_counter() - start) / 4)
        return amount / best

    # Not zeros, which may be moved faster.
    y, z = torch.randn(4 * n * n), torch.randn(4 * n * n)
    out = {"name": torch.cuda.get_device_name(arguments.device) if on_gpu else "cpu", "bytes": rate(lambda: y.copy_(z), 2 * 16 * n * n)}
    del y, z
    x = torch.randn(n, n)
    for name, precision in (("f32", "highest"), ("tf32", "high")):
        torch.set_float32_matmul_precision(precision)
        out[name] = rate(lambda: x @ x, 2 * n**3)
    b = x.bfloat16()
    out["bf16"] = rate(lambda: b @ b, 2 * n**3)
    print(json.dumps(out))


if __name__ == "__main__":
    main()
