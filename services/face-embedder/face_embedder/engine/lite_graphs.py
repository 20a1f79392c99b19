"""The models of the pack lite with their sizes set free: as they come they take one picture of one size at a time.

Results stay as they are, to the last bit; the files on the disk are not touched.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from face_embedder.engine.faces import Floats


def any_batch(content: bytes) -> bytes:
    """The same model for any number of inputs at once. Raises ValueError for what is no model."""
    model = _parsed(content)
    for tensor in (*model.graph.input, *model.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_param = "batch"
    shapes = {node.input[1] for node in model.graph.node if node.op_type == "Reshape"}
    for constant in model.graph.initializer:
        if constant.name in shapes:
            wanted = numpy_helper.to_array(constant).copy()
            wanted[0] = 0  # as many as there are
            constant.CopyFrom(numpy_helper.from_array(wanted, constant.name))
    return bytes(model.SerializeToString())


def any_size(content: bytes) -> bytes:
    """The detector for any batch and size, with outputs `scores` and `offsets`: how each prior box should be moved.

    As it comes, its last operations turn offsets into boxes with the prior boxes of one size. Raises ValueError for
    another graph.
    """
    model = _parsed(content)
    graph = model.graph
    offsets = _offsets(list(graph.node))
    kept = _leading_to({"scores", offsets}, list(graph.node))
    del graph.node[:], graph.output[:], graph.value_info[:]
    graph.node.extend(kept)
    for index, name in ((0, "batch"), (2, "height"), (3, "width")):
        graph.input[0].type.tensor_type.shape.dim[index].dim_param = name
    for name, length in (("scores", 2), (offsets, 4)):
        shape: list[str | int | None] = ["batch", "priors", length]
        graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
    return bytes(model.SerializeToString())


def without_prelu(content: bytes) -> bytes:
    """The same model with each PRelu taken apart into operations that ONNX Runtime has fast kernels for on a CPU.

    Its own PRelu runs at a fraction of their speed, and has the tensors turned into another layout and back each time:
    together more than the recognition model's convolutions. A PRelu whose slopes are not one per channel stays. Raises
    ValueError for what is no model.
    """
    model = _parsed(content)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        slopes = constants.get(node.input[1]) if node.op_type == "PRelu" else None
        if slopes is None or list(slopes.dims[1:]) != [1, 1]:
            nodes.append(node)
            continue
        nodes += _prelu_parts(node.input[0], node.output[0], numpy_helper.to_array(slopes), model)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return bytes(model.SerializeToString())


def _prelu_parts(source: str, result: str, slopes: Floats, model: ModelProto) -> Iterator[NodeProto]:
    """relu(x) + -slope * relu(-x): one of both is 0, so nothing is rounded that PRelu does not round.

    Products by channel are convolutions of one pixel, which keep the layout of those around them.
    """
    positive, negated, negative, sloped = (f"{result}/{part}" for part in ("positive", "negated", "negative", "sloped"))
    yield helper.make_node("Relu", [source], [positive], name=positive)
    yield _by_channel(source, negated, -np.ones_like(slopes), model)
    yield helper.make_node("Relu", [negated], [negative], name=negative)
    yield _by_channel(negative, sloped, -slopes, model)
    yield helper.make_node("Add", [sloped, positive], [result], name=result)


def _by_channel(source: str, result: str, factors: Floats, model: ModelProto) -> NodeProto:
    channels = len(factors)
    weights: TensorProto = numpy_helper.from_array(factors.reshape(channels, 1, 1, 1), f"{result}/factors")
    model.graph.initializer.append(weights)
    return helper.make_node("Conv", [source, weights.name], [result], name=result, group=channels, kernel_shape=[1, 1])


def _parsed(content: bytes) -> ModelProto:
    try:
        return onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's errors have no class that both its implementations share
        raise ValueError("it is no ONNX model") from error


def _offsets(nodes: list[NodeProto]) -> str:
    """The tensor that the operations behind `boxes` begin with: the second concatenation of the four levels."""
    joined = [node.output[0] for node in nodes if node.op_type == "Concat" and len(node.input) == 4]
    sliced = {node.input[0] for node in nodes if node.op_type == "Slice"}
    found = [name for name in joined if name in sliced]
    if len(found) != 1:
        raise ValueError("it is another kind of detector")
    return str(found[0])


def _leading_to(wanted: set[str], nodes: list[NodeProto]) -> list[NodeProto]:
    """The operations that these tensors come from, in their order; a graph's operations stand in the order of use."""
    kept = []
    for node in reversed(nodes):
        if wanted & set(node.output):
            wanted = wanted | set(node.input)
            kept.append(node)
    return kept[::-1]
