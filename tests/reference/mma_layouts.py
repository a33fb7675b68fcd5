"""Writes fixtures/mma_layouts.json: which element of a matrix each lane holds in tensor cores' fragments, as NVIDIA's CuTe says it.

    python mma_layouts.py CUTLASS            writes fixtures/mma_layouts.json
    python mma_layouts.py CUTLASS --check    compares, writes nothing

CUTLASS is a checkout of github.com/NVIDIA/cutlass, whose headers say it as layouts: nested shapes and strides, from a lane and a value to the
element's number, counted along the first mode of the operand (M x K for A, N x K for B, M x N for C). The numbers are read from there and
the layouts evaluated here; README.md describes the file. Needs no package.
"""

import argparse
import json
import math
import pathlib
import re

HERE = pathlib.Path(__file__).parent
OPERATIONS = {"tf32": "SM80_16x8x8_F32TF32TF32F32_TN", "bf16": "SM80_16x8x16_F32BF16BF16F32_TN"}
LANES = 32


def nested(text):
    """`Name<Other<_4,_8>, _2>` as a pair of a name and its arguments, a number `_4` as 4."""
    tokens = re.findall(r"[\w:]+|[<>,]", text)

    def term(at):
        name, at = tokens[at], at + 1
        if tokens[at : at + 1] != ["<"]:
            return (int(name[1:]) if re.fullmatch(r"_\d+", name) else name), at
        arguments = []
        while tokens[at] != ">":
            argument, at = term(at + 1)
            arguments.append(argument)
        return (name, arguments), at + 1

    return term(0)[0]


def numbers(tree):
    """Shapes and strides as tuples of tuples."""
    return tree if isinstance(tree, int) else tuple(numbers(x) for x in tree[1])


def evaluate(shape, stride, at):
    """The coordinate with number `at` of a shape, its first mode fastest, times the strides."""
    if isinstance(shape, int):
        return at * stride
    total = 0
    for s, d in zip(shape, stride, strict=True):
        size = math.prod(flat(s))
        total, at = total + evaluate(s, d, at % size), at // size
    return total


def flat(shape):
    return [shape] if isinstance(shape, int) else [n for s in shape for n in flat(s)]


class Traits:
    """What a header says of operations: members by their names, of an operation or of the one that it takes them from."""

    def __init__(self, text):
        text = re.sub(r"//.*", "", text)
        self.shared = self.members(text.split("struct MMA_Traits", 1)[0])
        parts = re.findall(r"struct\s+MMA_Traits<(\w+)>\s*(?::\s*MMA_Traits<(\w+)>\s*)?\{(.*?)\}\s*;", text, re.DOTALL)
        self.found = {name: (base, self.members(body)) for name, base, body in parts}

    @staticmethod
    def members(text):
        return dict(re.findall(r"using\s+(\w+)\s*=\s*([^;]+);", text))

    def member(self, operation, name):
        base, members = self.found[operation]
        if name not in members:
            return self.member(base, name)
        return nested(self.shared.get(members[name], members[name]))

    def layout(self, operation, name):
        _, (shape, stride) = self.member(operation, name)
        shape, stride = numbers(shape), numbers(stride)
        assert math.prod(flat(shape[0])) == LANES
        values = math.prod(flat(shape[1]))
        return [[evaluate(shape, stride, lane + LANES * value) for value in range(values)] for lane in range(LANES)]


def instruction(text, operation):
    """The name of the instruction that an operation issues."""
    return re.search(rf'struct {operation}\b.*?"(mma\.[\w.]+)', text, re.DOTALL)[1]


def fixture(cutlass):
    include = cutlass / "include"
    traits = Traits((include / "cute/atom/mma_traits_sm80.hpp").read_text())
    issued = (include / "cute/arch/mma_sm80.hpp").read_text()
    version = re.findall(r"#define CUTLASS_(?:MAJOR|MINOR|PATCH) (\d+)", (include / "cutlass/version.h").read_text())
    out = {"cutlass": ".".join(version)}
    for name, operation in OPERATIONS.items():
        m, n, _ = shape = numbers(traits.member(operation, "Shape_MNK"))

        def elements(operand, first, turned, operation=operation):
            found = traits.layout(operation, f"{operand}Layout")
            return [[[k // first, k % first] if turned else [k % first, k // first] for k in lane] for lane in found]

        # CuTe has B as N x K; here rows of B are along k.
        operands = {"a": elements("A", m, False), "b": elements("B", n, True), "c": elements("C", m, False)}
        out[name] = {"instruction": instruction(issued, operation), "shape": shape} | operands
    return out


def text_of(found):
    """One line a lane."""
    text = json.dumps(found)
    text = re.sub(r'(, |\{)(?="(?:tf32|bf16|[abc]|instruction|shape)": )', lambda m: m[1].strip() + "\n", text)
    return re.sub(r"(\[|\]\], )(?=\[\[)", lambda m: m[1].strip() + "\n", text) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cutlass", type=pathlib.Path)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    file, found = HERE / "fixtures/mma_layouts.json", fixture(arguments.cutlass)
    if not arguments.check:
        file.write_text(text_of(found))
    kept = json.loads(file.read_text())
    if any(kept[name] != json.loads(json.dumps(found[name])) for name in OPERATIONS):
        raise SystemExit(f"{file} says otherwise than CUTLASS {found['cutlass']}")


if __name__ == "__main__":
    main()
