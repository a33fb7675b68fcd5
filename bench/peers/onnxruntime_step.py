"""Inference and ranking of the benchmark by ONNX Runtime: `--mode split` or `chunks`, for `--task rank` `fold`, `batched` or `split`.

`graph.py` says what the modes are; `harness.py` says what a round is and prints. Inputs and the result are bound to memory before the steps.
"""

import os

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

import graph
import harness


class Ops:
    """Operators of ONNX; a value is its name."""

    def __init__(self):
        self.nodes, self.constants, self.inputs, self.count = [], [], [], 0

    def name(self):
        self.count += 1
        return f"v{self.count}"

    def node(self, operator, *arguments, **attributes):
        name = self.name()
        self.nodes.append(helper.make_node(operator, arguments, [name], **attributes))
        return name

    def constant(self, array):
        name = self.name()
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def numbers(self, *numbers):
        return self.constant(np.array(numbers, np.int64))

    def input(self, name, shape):
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.INT32, shape))
        return name

    def gather(self, table, rows):
        return self.node("Gather", table, rows)

    def reshape(self, x, shape):
        return self.node("Reshape", x, self.numbers(*shape))

    def concat(self, values, axis):
        return self.node("Concat", *values, axis=axis)

    def columns(self, x, begin, end):
        return self.node("Slice", x, self.numbers(begin), self.numbers(end), self.numbers(1))

    def matmul(self, x, y):
        return self.node("MatMul", x, y)

    def linear(self, x, weight, bias):
        return self.node("Gemm", x, weight, bias)

    def add(self, x, y):
        return self.node("Add", x, y)

    def multiply(self, x, y):
        return self.node("Mul", x, y)

    def sigmoid(self, x):
        return self.node("Sigmoid", x)

    def transpose(self, x, order):
        return self.node("Transpose", x, perm=order)

    def sum(self, x, axis):
        return self.node("ReduceSum", x, self.numbers(axis), keepdims=0)

    def segment_sum(self, x, weights, segment, _offsets, samples, width):
        """Rows, times their weights if there are any, added up by sample."""
        zeros = self.constant(np.zeros((samples, width), np.float32))
        index = self.reshape(self.node("Cast", segment, to=TensorProto.INT64), [-1, 1])
        return self.node("ScatterND", zeros, index, self.multiply(x, weights) if weights else x, reduction="add")

    def model(self, result, samples):
        output = helper.make_tensor_value_info(result, TensorProto.FLOAT, [samples, 1])
        made = helper.make_graph(self.nodes, "din", self.inputs, [output], self.constants)
        return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def session(model, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    # Threads stay on cores of their own, the caller on the first. Cores are counted from 1 there.
    first, *others = sorted(os.sched_getaffinity(0))[:threads]
    if len(others) == threads - 1 > 0:
        options.add_session_config_entry("session.intra_op_thread_affinities", ";".join(str(core + 1) for core in others))
    made = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    os.sched_setaffinity(0, [first])
    return made


def main():
    arguments = harness.options(__doc__)
    data = harness.read(arguments)
    inputs = graph.inputs(arguments, data)
    ops = Ops()
    result = graph.logits(ops, load_file(arguments.init), arguments, inputs[0])
    model = ops.model(result, arguments.batch)
    onnx.checker.check_model(model)
    runs = session(model, arguments.threads)
    batches = []
    for one, b in zip(inputs, data):
        logits = np.empty((arguments.batch, 1), np.float32)
        binding = runs.io_binding()
        for name, array in one.items():
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
        binding.bind_output(result, "cpu", 0, np.float32, logits.shape, logits.ctypes.data)
        batches.append((binding, logits[:, 0], b["label"]))

    def step(b):
        binding, logits, label = b
        runs.run_with_iobinding(binding)
        return logits, label

    harness.run(arguments, batches, lambda: None, step)


if __name__ == "__main__":
    main()
