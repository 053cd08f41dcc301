"""Writes down an ONNX graph as one writes a formula: values, and what is done to them."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# From 18 on a picture can be made small without aliasing.
OPSET, IR = 18, 8


class Graph(NamedTuple):
    """What has been written down so far; grows."""

    nodes: list[onnx.NodeProto]
    constants: list[onnx.TensorProto]

    def __call__(
        self, op: str, *inputs: Any, dtype: type | None = None, **attributes: Any
    ) -> "Value":
        """The value of an operation of ONNX.

        Args:
          op: such as "Conv".
          *inputs: values, arrays, numbers, which are taken to be of the first value's type, or None
            for one that is left out.
          dtype: of the result; that of the first value unless given.
          **attributes: of the operation.
        """
        own = next((x.dtype for x in inputs if isinstance(x, Value)), np.float32)
        names = [self._name(x, own) for x in inputs]
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, names, [name], **attributes))
        return Value(self, name, dtype or own)

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
        """`yes` where this is true, else `no`; one of the two is a value."""
        dtype = next(x.dtype for x in (yes, no) if isinstance(x, Value))
        yes, no = (x if isinstance(x, Value) else np.asarray(x, dtype) for x in (yes, no))
        return self.graph("Where", self, yes, no, dtype=dtype)

    def cast(self, dtype: type) -> "Value":
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self.graph("Cast", self, to=kind, dtype=dtype)


def argument(name: str, dtype: type) -> Value:
    """What a new graph is given."""
    return Value(Graph([], []), name, dtype)


def model(
    result: Value, name: str, given: Value, shapes: Sequence[Sequence], facts: dict[str, str]
) -> onnx.ModelProto:
    """The file of a graph of one uint8 argument and one uint8 result.

    Args:
      result: what is computed, and was written down last.
      name: what that is to be called.
      given: from what.
      shapes: of the argument and of the result, with names for sides that may be any.
      facts: what the file is to say of itself.
    """
    graph = result.graph
    graph.nodes[-1].output[0] = name
    ends = [
        helper.make_tensor_value_info(end, TensorProto.UINT8, shape)
        for end, shape in zip((given.name, name), shapes, strict=True)
    ]
    body = helper.make_graph(graph.nodes, "colorjax", ends[:1], ends[1:], graph.constants)
    versions = {"opset_imports": [helper.make_opsetid("", OPSET)], "ir_version": IR}
    made = helper.make_model(body, producer_name="colorjax", **versions)
    helper.set_model_props(made, facts)
    onnx.checker.check_model(made, full_check=True)
    return made
