"""The axis vocabulary: one name for every axis, used in every signature.

``samples`` rows of a data set, ``features`` its columns, ``channels`` the numbers that one
feature holds where it holds several, ``local`` the dimension d of a feature's vector,
``labels`` the label axis of a data tensor (length 1 for scalar weights).
A shape is an ``int`` for a sequence or a tuple for a grid, in row-major order.
"""

from typing import TypeAlias

from jaxtyping import Float64
from torch import Tensor

__all__ = ["GramMatrix", "LabelWeights", "LocalVectors", "SampleArray", "SampleMatrix", "Shape"]

Shape: TypeAlias = int | tuple[int, ...]
SampleMatrix: TypeAlias = Float64[Tensor, "samples features"]
SampleArray: TypeAlias = Float64[Tensor, "samples features *channels"]
LocalVectors: TypeAlias = Float64[Tensor, "features local samples"]
LabelWeights: TypeAlias = Float64[Tensor, "samples labels"]
GramMatrix: TypeAlias = Float64[Tensor, "samples samples"]
