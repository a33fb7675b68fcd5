"""Writes `fixtures/interactions.safetensors`: what is computed of lists and of components, float64, on one thread.

    python make_interactions.py

Each case has `x` (five samples of four vectors of three components), weights, an `upstream` gradient, the value, and PyTorch's
derivatives of `sum(value * upstream)`. Written from the papers and the language's reference, not from the compiler.
"""

import pathlib

import torch
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
SAMPLES, FIELDS, WIDTH = 5, 4, 3


def pairs(x):
    """The vectors of all pairs of fields, the first and the second of each: `[samples, pairs, width]` twice."""
    i, j = torch.triu_indices(FIELDS, FIELDS, offset=1)
    return x[:, i], x[:, j]


def fm(x):
    a, b = pairs(x)
    return (a * b).sum((1, 2))[:, None]


def inner_products(x):
    a, b = pairs(x)
    return (a * b).sum(2)


def attentional_pairs(x, unit, bias, score):
    a, b = pairs(x)
    products = a * b
    scores = torch.relu(products @ unit + bias) @ score
    return (torch.softmax(scores, 1) * products).sum(1)


def softmax_of_components(x):
    flat = x.flatten(1)
    return torch.cat([torch.softmax(flat, 1) * flat, flat.amax(1, True), flat.amin(1, True)], 1)


def reductions_of_a_list(x):
    return torch.cat([x.sum(1), x.mean(1), x.amax(1), x.amin(1), (torch.softmax(x, 1) * x).sum(1)], 1)


def main():
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(11)
    out = {}

    def draw(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    def put(name, f, **shapes):
        x = draw(SAMPLES, FIELDS, WIDTH).requires_grad_()
        weights = {key: (0.5 * draw(*shape)).requires_grad_() for key, shape in shapes.items()}
        value = f(x, *weights.values())
        upstream = draw(*value.shape)
        leaves = {"x": x, **weights}
        gradients = torch.autograd.grad((value * upstream).sum(), leaves.values())
        for (key, leaf), gradient in zip(leaves.items(), gradients):
            out[f"{name}/{key}"] = leaf.detach().flatten(1).numpy() if key == "x" else leaf.detach().numpy()
            out[f"{name}/gradient.{key}"] = gradient.flatten(1).numpy() if key == "x" else gradient.numpy()
        out[f"{name}/upstream"] = upstream.numpy()
        out[f"{name}/value"] = value.detach().numpy()

    put("fm", fm)
    put("inner_products", inner_products)
    put("attentional_pairs", attentional_pairs, unit=(WIDTH, 2), bias=(2,), score=(2, 1))
    put("softmax_of_components", softmax_of_components)
    put("reductions_of_a_list", reductions_of_a_list)
    save_file(out, HERE / "fixtures" / "interactions.safetensors")


if __name__ == "__main__":
    main()
