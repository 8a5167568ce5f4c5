"""The section about initial weights: where they differ from ``init_std``."""

from typing import Annotated, Literal

from pydantic import Field

from llm_core.experiment.base import Spec, later

Positive = Annotated[float, Field(gt=0)]


class InitialisationSpec(Spec):
    """The initial weights of a model. The default of each setting is what models had before the setting existed."""

    matrices: Literal["normal", "fan_in"] = later(default="normal", absent="normal")
    """``normal``: standard deviation ``init_std``. ``fan_in``: uniform, with standard deviation 1 / sqrt(inputs) (LeCun
    et al., 1998); for value embeddings 1 / sqrt(d_model)."""
    residual_writers: Literal["scaled", "zero"] = later(default="scaled", absent="scaled")
    """The matrices that write into the residual stream. ``scaled``: divided by the square root of the number of
    branches (Radford et al., 2019). ``zero``: every block begins as the identity (Goyal et al., 2017; Zhang et al.,
    2019)."""
    feed_forward: Positive = later(default=1.0, absent=1.0)
    """Factor of the other matrices of feed-forwards."""
    embedding_std: Positive | None = later(default=None, absent=None)
    """Standard deviation of the embedding; null: ``init_std``, or almost 0 with ``embedding_norm``."""
    head_std: Positive | None = later(default=None, absent=None)
    """Standard deviation of a head that is not tied; null: that of a matrix."""
