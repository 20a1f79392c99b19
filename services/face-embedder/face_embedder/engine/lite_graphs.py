"""The models of the pack lite with their sizes set free: as they come they take one picture of one size at a time.

Weights and operations stay as they are, and so do results; the files on the disk are not touched.
"""

from __future__ import annotations

import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper


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
