"""The section about the parametrisation: how initial weights, multipliers and learning rates change with the shape."""

from typing import Literal

from llm_core.experiment.base import Count, Spec


class ParametrizationSpec(Spec):
    """With it, the best learning rate of a small model is also that of a large one.

    A model of the base shape is what it would be without a parametrisation. With a width m times and a depth l times
    the base's, relative to it:

    - matrices begin 1 / sqrt(m) times as large, and have 1 / m times the learning rate (AdamW; each optimiser knows its
      own power), m times the weight decay, and 1 / (m · l) times eps
    - logits are multiplied by 1 / m
    - ``completep``: each branch is multiplied by 1 / l before it is added to the residual stream
    """

    kind: Literal["mup", "completep"] = "completep"
    """``mup``: for width only (Yang et al., 2022). ``completep``: for width and depth (Dey et al., 2025)."""
    base_width: Count
    """``d_model`` of the base."""
    base_layers: Count
    """``n_layers`` of the base."""
