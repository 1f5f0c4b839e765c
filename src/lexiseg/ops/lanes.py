"""Eight float32 as one value in compiled loops.

A loop over eight channels is too short for the compiler to vectorise by itself, and numba offers no
vector type; a small one is made here. ``load``, ``add_scaled`` and ``store`` become one instruction each
where the processor has 256-bit registers, and two elsewhere. After a change here, touch the files that
use it: numba's cache looks only at the file of the compiled function.
"""

from typing import no_type_check

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model

#: Channels side by side in one row of values.
LANES = 8
_VECTOR = ir.VectorType(ir.FloatType(), LANES)


class _LanesType(types.Type):  # type: ignore[misc]
    """Type of ``LANES`` float32 that are worked on together."""

    def __init__(self) -> None:
        super().__init__(name="Lanes")


_lanes_type = _LanesType()


@register_model(_LanesType)
class _LanesModel(models.PrimitiveModel):  # type: ignore[misc]
    @no_type_check
    def __init__(self, manager, numba_type):
        super().__init__(manager, numba_type, _VECTOR)


@no_type_check
def _broadcast(builder, scalar):
    first = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), scalar, ir.IntType(32)(0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(first, first, zeros)


@no_type_check
def _address(context, builder, signature, values):
    """Find where row ``values[1]`` of the array ``values[0]`` has column ``values[2]``."""
    array = context.make_array(signature.args[0])(context, builder, values[0])
    row, column = (
        context.cast(builder, value, kind, types.intp)
        for value, kind in zip(values[1:3], signature.args[1:3], strict=True)
    )
    offset = builder.add(builder.mul(row, builder.extract_value(array.shape, 1)), column)
    return builder.bitcast(builder.gep(array.data, [offset]), _VECTOR.as_pointer())


@intrinsic
@no_type_check
def load(_, array, row, column):
    """Read ``LANES`` values from ``array[row, column]`` on; contiguous rows of float32, no check."""

    def generate(context, builder, signature, values):
        return builder.load(_address(context, builder, signature, values), align=4)

    return _lanes_type(array, row, column), generate


@intrinsic
@no_type_check
def store(_, array, row, column, lanes):
    """Write ``LANES`` values from ``array[row, column]`` on; contiguous rows of float32, no check."""

    def generate(context, builder, signature, values):
        builder.store(values[3], _address(context, builder, signature, values), align=4)
        return context.get_dummy_value()

    return types.void(array, row, column, lanes), generate


@intrinsic
@no_type_check
def add_scaled(_, total, factor, lanes):
    """Return ``total + factor * lanes``, rounded once where the processor can."""

    def generate(context, builder, signature, values):
        factor = context.cast(builder, values[1], signature.args[1], types.float32)
        product = builder.fmul(_broadcast(builder, factor), values[2], flags=("contract",))
        return builder.fadd(values[0], product, flags=("contract",))

    return _lanes_type(total, factor, lanes), generate


@intrinsic
@no_type_check
def zeros(_):
    """Return ``LANES`` zeros."""

    def generate(context, builder, signature, values):
        return ir.Constant(_VECTOR, [0.0] * LANES)

    return _lanes_type(), generate
