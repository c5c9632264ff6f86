"""Names for the shapes of tensors in annotations: `Float[Tensor, "B H L"]`.

They come from jaxtyping where it is installed (the tests turn them into checks) and mean plain
`Tensor` where it is not, so that s4core runs with torch and numpy alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Complex, Float, Inexact, Int, Shaped
else:
    try:
        from jaxtyping import Complex, Float, Inexact, Int, Shaped
    except ImportError:

        class _Unchecked:
            def __class_getitem__(cls, item: tuple[type, str]) -> type:
                return item[0]

        Complex = Float = Inexact = Int = Shaped = _Unchecked

__all__ = ["Complex", "Float", "Inexact", "Int", "Shaped", "Tensor"]
