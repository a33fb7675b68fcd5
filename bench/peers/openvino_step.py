"""Inference and ranking of the benchmark by OpenVINO: `--mode split` or `chunks`, for `--task rank` `fold`, `batched` or `split`.

`graph.py` says what the modes are; `harness.py` says what a round is and prints. The graph is made of OpenVINO's own operators, which have sums
of segments. Products are in f32: left to itself OpenVINO takes BF16 where the CPU has it.
"""

import numpy as np
import openvino
import openvino.opset13 as opset
from safetensors.numpy import load_file

import graph
import harness


class Ops:
    """OpenVINO's operators; a value is a node."""

    def __init__(self):
        self.inputs = []

    def constant(self, array):
        return opset.constant(np.ascontiguousarray(array))

    def numbers(self, *numbers):
        return opset.constant(np.array(numbers, np.int32))

    def input(self, name, shape):
        self.inputs.append(opset.parameter(list(shape), np.int32, name=name))
        return self.inputs[-1]

    def gather(self, table, rows):
        # `gather` of rows of 16 floats fetches them number by number with AVX-512, and takes five times as long.
        return opset.gather_nd(table, opset.unsqueeze(rows, opset.constant(-1)), 0)

    def reshape(self, x, shape):
        return opset.reshape(x, self.numbers(*shape), special_zero=False)

    def concat(self, values, axis):
        return opset.concat(values, axis)

    def columns(self, x, begin, end):
        return opset.slice(x, self.numbers(begin), self.numbers(end), self.numbers(1), self.numbers(1))

    def matmul(self, x, y):
        return opset.matmul(x, y, False, False)

    def linear(self, x, weight, bias):
        return opset.add(self.matmul(x, weight), bias)

    def add(self, x, y):
        return opset.add(x, y)

    def multiply(self, x, y):
        return opset.multiply(x, y)

    def sigmoid(self, x):
        return opset.sigmoid(x)

    def transpose(self, x, order):
        return opset.transpose(x, self.numbers(*order))

    def sum(self, x, axis):
        return opset.reduce_sum(x, self.numbers(axis), keep_dims=False)

    def segment_sum(self, x, weights, _segment, offsets, _samples, _width):
        """Rows, times their weights if there are any, added up by sample."""
        rows = self.constant(np.arange(x.get_output_shape(0)[0], dtype=np.int32))
        if weights is None:
            return opset.embedding_bag_offsets_sum(x, rows, offsets)
        return opset.embedding_bag_offsets_sum(x, rows, offsets, opset.constant(np.int32(-1)), self.reshape(weights, [-1]))


def compiled(model, threads):
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": True,
        "INFERENCE_PRECISION_HINT": "f32",
        "CPU_DENORMALS_OPTIMIZATION": True,
    }
    return openvino.Core().compile_model(model, "CPU", settings)


def main():
    arguments = harness.options(__doc__)
    data = harness.read(arguments)
    inputs = graph.inputs(arguments, data)
    ops = Ops()
    result = graph.logits(ops, load_file(arguments.init), arguments, inputs[0])
    request = compiled(openvino.Model([result], ops.inputs, "din"), arguments.threads).create_infer_request()
    batches = [([openvino.Tensor(array, shared_memory=True) for array in one.values()], b["label"]) for one, b in zip(inputs, data)]

    def step(b):
        tensors, label = b
        found = request.infer(tensors, share_inputs=True, share_outputs=True)
        # The next batch's logits go to the same place.
        return found[0][:, 0].copy(), label

    harness.run(arguments, batches, lambda: None, step)


if __name__ == "__main__":
    main()
