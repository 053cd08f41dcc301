"""Builds an ONNX graph from expressions of values and operators."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# `Resize` has antialiasing from opset 18 on.
OPSET, IR = 18, 8


class Graph(NamedTuple):
    """The nodes and constants of a graph under construction; calling it adds a node."""

    nodes: list[onnx.NodeProto]
    constants: list[onnx.TensorProto]

    def __call__(
        self, op: str, *inputs: Any, dtype: type | None = None, **attributes: Any
    ) -> "Value":
        """Adds a node of an ONNX operator and returns its output.

        Args:
          op: name of the operator, for example "Conv".
          *inputs: values, arrays, numbers (converted to the dtype of the first value), or None for
            an omitted optional input.
          dtype: dtype of the output; by default that of the first value.
          **attributes: attributes of the operator.
        """
        default_dtype = next((x.dtype for x in inputs if isinstance(x, Value)), np.float32)
        names = [self._name(x, default_dtype) for x in inputs]
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, names, [name], **attributes))
        return Value(self, name, dtype or default_dtype)

    def _name(self, x: Any, dtype: type) -> str:
        if x is None:
            return ""
        if isinstance(x, Value):
            return x.name
        array = x if isinstance(x, np.ndarray) else np.asarray(x, dtype)
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name


@dataclasses.dataclass(frozen=True)
class Value:
    """An array that a graph computes."""

    graph: Graph
    name: str
    dtype: type

    def __add__(self, other):
        return self.graph("Add", self, other)

    def __sub__(self, other):
        return self.graph("Sub", self, other)

    def __rsub__(self, other):
        return self.graph("Sub", other, self)

    def __mul__(self, other):
        return self.graph("Mul", self, other)

    def __truediv__(self, other):
        return self.graph("Div", self, other)

    def __rtruediv__(self, other):
        return self.graph("Div", other, self)

    def __pow__(self, other):
        return self.graph("Pow", self, other)

    def __neg__(self):
        return self.graph("Neg", self)

    def __gt__(self, other):
        return self.graph("Greater", self, other, dtype=np.bool_)

    __radd__, __rmul__ = __add__, __mul__

    def where(self, yes: Any, no: Any) -> "Value":
        """Selects `yes` where this is true, else `no`; at least one of the two is a Value."""
        dtype = next(x.dtype for x in (yes, no) if isinstance(x, Value))
        yes, no = (x if isinstance(x, Value) else np.asarray(x, dtype) for x in (yes, no))
        return self.graph("Where", self, yes, no, dtype=dtype)

    def cast(self, dtype: type) -> "Value":
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self.graph("Cast", self, to=kind, dtype=dtype)


def argument(name: str, dtype: type) -> Value:
    """Returns the input of a new graph."""
    return Value(Graph([], []), name, dtype)


def model(
    result: Value, name: str, source: Value, shapes: Sequence[Sequence], properties: dict[str, str]
) -> onnx.ModelProto:
    """Returns the model of a graph with one uint8 input and one uint8 output.

    Args:
      result: the output; must be the last node of its graph.
      name: name that the output gets.
      source: the input.
      shapes: shapes of the input and of the output, with names for dynamic dimensions.
      properties: metadata of the model.
    """
    graph = result.graph
    graph.nodes[-1].output[0] = name
    infos = [
        helper.make_tensor_value_info(tensor, TensorProto.UINT8, shape)
        for tensor, shape in zip((source.name, name), shapes, strict=True)
    ]
    body = helper.make_graph(graph.nodes, "colorjax", infos[:1], infos[1:], graph.constants)
    versions = {"opset_imports": [helper.make_opsetid("", OPSET)], "ir_version": IR}
    proto = helper.make_model(body, producer_name="colorjax", **versions)
    helper.set_model_props(proto, properties)
    onnx.checker.check_model(proto, full_check=True)
    return proto
