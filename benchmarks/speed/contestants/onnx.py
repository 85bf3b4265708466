"""ONNX Runtime and OpenVINO: inference only, both from the same ONNX model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any

import numpy as np

from benchmarks.speed.contestants import Run
from benchmarks.speed.problem import Array, Problem, Results

GATES = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}  # ONNX wants i o f g and z r n; ours is i f g o and r z n
STATES = {"LSTM": ("h", "c"), "GRU": ("h",), "RNN": ("h",)}


def onnx_model(problem: Problem, T: int, *, stateful: bool) -> bytes:
    """Return the layer as ONNX, with fixed shapes: x (T, B, I) [, lengths (B,)] [, h, c (1, B, H)] -> y, h_n, c_n."""
    from onnx import TensorProto, checker, helper, numpy_helper

    cell, w = problem.cell, problem.weights

    def blocks(name: str) -> Array:
        array = w[name].reshape(len(GATES[cell.kind]), cell.H, -1)
        return np.ascontiguousarray(array[list(GATES[cell.kind])].reshape(w[name].shape))

    constants = {
        "weight_ih": blocks("weight_ih")[None],
        "weight_hh": blocks("weight_hh")[None],
        "bias": np.concatenate([blocks("bias_ih"), blocks("bias_hh")])[None],
    }
    fields = STATES[cell.kind]
    state = [(field, [1, cell.B, cell.H]) for field in fields]
    lengths = [("lengths", [cell.B])] if problem.lengths is not None else []
    given = [name for name, _ in lengths] or [""]
    node = helper.make_node(
        cell.kind,
        ["x", *constants, *given, *(fields if stateful else ())],
        ["y", *(f"{field}_n" for field in fields)],
        hidden_size=cell.H,
        **({"linear_before_reset": 1} if cell.kind == "GRU" else {}),
    )
    types = {"lengths": TensorProto.INT32}
    inputs = [("x", [T, cell.B, cell.I]), *lengths, *(state if stateful else ())]
    outputs = [("y", [T, 1, cell.B, cell.H]), *((f"{field}_n", shape) for field, shape in state)]
    graph = helper.make_graph(
        [node],
        cell.kind,
        [helper.make_tensor_value_info(name, types.get(name, TensorProto.FLOAT), shape) for name, shape in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    checker.check_model(model)
    return model.SerializeToString()


def _feeds(problem: Problem) -> dict[str, Array]:
    feeds = {"x": np.ascontiguousarray(problem.x.swapaxes(0, 1))}
    if problem.lengths is not None:
        feeds["lengths"] = problem.lengths.astype(np.int32)
    return feeds


def _batch_first(y: Array) -> Array:
    return np.array(y[:, 0].swapaxes(0, 1))


def _buffers(problem: Problem) -> dict[str, Array]:
    """Return what a stream reads and writes: x, y, and two arrays for each of its states, used in turn."""
    cell = problem.cell
    fields = STATES[cell.kind]
    states = {f"{field}{k}": np.zeros((1, cell.B, cell.H), np.float32) for field in fields for k in (0, 1)}
    x, y = np.zeros((1, cell.B, cell.I), np.float32), np.zeros((1, 1, cell.B, cell.H), np.float32)
    return {"x": x, "y": y, **states}


def _roles(kind: str, turn: int) -> dict[str, str]:
    """Return which buffer each name of the graph stands for at even and at odd steps."""
    states = {field: f"{field}{turn}" for field in STATES[kind]}
    return {"x": "x", "y": "y"} | states | {f"{field}_n": f"{field}{1 - turn}" for field in STATES[kind]}


def _stream(problem: Problem, buffers: dict[str, Array], turns: Sequence[Callable[[], Any]]) -> Run:
    """Return a stream over buffers: `turns` computes one step from the even to the odd states, the other back."""
    advance = cycle(turns).__next__
    x, y = buffers["x"], buffers["y"]

    def results() -> Results:
        for name, buffer in buffers.items():
            if name not in ("x", "y"):
                buffer[:] = 0
        found = []
        for k, row in enumerate(problem.x[0]):
            x[:] = row
            turns[k % 2]()
            found.append(y.reshape(-1).copy())
        return {"y": np.stack(found)[None]}

    return Run(lambda: advance()(), results, keeps=buffers)


class OnnxRuntime:
    """ONNX Runtime's CPU provider, with all optimisations of the graph."""

    def __init__(self, threads: int) -> None:
        import onnxruntime

        self._library = onnxruntime
        self._threads = threads

    def _session(self, problem: Problem, T: int, *, stateful: bool) -> Any:
        options = self._library.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.graph_optimization_level = self._library.GraphOptimizationLevel.ORT_ENABLE_ALL
        model = onnx_model(problem, T, stateful=stateful)
        return self._library.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def inference(self, problem: Problem) -> dict[str, Run]:
        """Call `run` with arrays, and `run_with_iobinding` with buffers of our own."""
        session, feeds = self._session(problem, problem.cell.T, stateful=False), _feeds(problem)
        outputs = {output.name: np.zeros(output.shape, np.float32) for output in session.get_outputs()}
        bound = self._bind(session, feeds, outputs)

        def bound_results() -> Results:
            session.run_with_iobinding(bound)
            return {"y": _batch_first(outputs["y"])}

        return {
            "run": Run(lambda: session.run(None, feeds), lambda: {"y": _batch_first(session.run(None, feeds)[0])}),
            "io binding": Run(lambda: session.run_with_iobinding(bound), bound_results, keeps=(feeds, outputs)),
        }

    def training(self, problem: Problem) -> dict[str, Run]:
        """Return nothing: the package does not train."""
        return {}

    def step(self, problem: Problem) -> dict[str, Run]:
        """Call `run_with_iobinding`, the output states being the next step's input states."""
        session, buffers = self._session(problem, 1, stateful=True), _buffers(problem)
        turns = []
        for turn in (0, 1):
            roles = _roles(problem.cell.kind, turn)
            inputs = {node.name: buffers[roles[node.name]] for node in session.get_inputs()}
            outputs = {node.name: buffers[roles[node.name]] for node in session.get_outputs()}
            bound = self._bind(session, inputs, outputs)
            turns.append(lambda bound=bound: session.run_with_iobinding(bound))
        return {"io binding": _stream(problem, buffers, turns)}

    def _bind(self, session: Any, inputs: dict[str, Array], outputs: dict[str, Array]) -> Any:
        binding = session.io_binding()
        for bind, arrays in ((binding.bind_input, inputs), (binding.bind_output, outputs)):
            for name, array in arrays.items():
                bind(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        return binding


class OpenVino:
    """OpenVINO on the CPU: latency hint, one stream, and float32 also where the processor has bfloat16."""

    def __init__(self, threads: int) -> None:
        import openvino

        self._library = openvino
        self._core = openvino.Core()
        self._options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
        }

    def _compile(self, problem: Problem, T: int, *, stateful: bool) -> Any:
        model = self._core.read_model(onnx_model(problem, T, stateful=stateful))
        return self._core.compile_model(model, "CPU", self._options)

    def _request(self, compiled: Any, arrays: dict[str, Array]) -> Any:
        """Return a request that works on arrays of ours, without a copy. It does not keep them alive."""
        request = compiled.create_infer_request()
        for port in (*compiled.inputs, *compiled.outputs):
            name = next(name for name in port.get_names() if name in arrays)
            request.set_tensor(port, self._library.Tensor(arrays[name], shared_memory=True))
        return request

    def inference(self, problem: Problem) -> dict[str, Run]:
        """Call `infer` on one request with buffers of our own."""
        compiled = self._compile(problem, problem.cell.T, stateful=False)
        arrays = _feeds(problem)
        arrays |= {port.get_any_name(): np.zeros(tuple(port.shape), np.float32) for port in compiled.outputs}
        infer = self._request(compiled, arrays).infer

        def results() -> Results:
            infer()
            return {"y": _batch_first(arrays["y"])}

        return {"infer": Run(infer, results, keeps=arrays)}

    def training(self, problem: Problem) -> dict[str, Run]:
        """Return nothing: the package does not train."""
        return {}

    def step(self, problem: Problem) -> dict[str, Run]:
        """Call `infer` on two requests in turn, the output states of one being the input states of the other."""
        compiled, buffers = self._compile(problem, 1, stateful=True), _buffers(problem)
        turns = []
        for turn in (0, 1):
            roles = _roles(problem.cell.kind, turn)
            turns.append(self._request(compiled, {name: buffers[role] for name, role in roles.items()}).infer)
        return {"infer": _stream(problem, buffers, turns)}
