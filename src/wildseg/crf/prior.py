"""How likely each class is in the frame, beside where it would be: image labels weigh the maps of a pseudo mask.

A map is stretched to 1 whether its class is certain in the frame or has just passed its threshold, so that a class that
was labelled in error claims as much of the frame as one that is there. By Bayes' rule a pixel shows a class as likely
as the frame has it, times where it then is: ``P(c at x) = P(c) m_c(x)``, up to a factor. SAM 3 (Carion et al. 2025)
multiplies its scores by that of a concept's presence alike. An exponent weighs the labels against the maps.
"""

from __future__ import annotations

import numpy as np


def weighed(maps: np.ndarray, priors: np.ndarray, exponent: float) -> np.ndarray:
    """Return maps (K, h, w) float32 in [0, 1], each times ``prior ** exponent`` of its class.

    Args:
        maps: (K, h, w) in [0, 1].
        priors: (K,) in [0, 1], of the same classes.
        exponent: at least 0; 0 leaves the maps as they are.
    """
    return maps.astype(np.float32) * (priors**exponent).astype(np.float32)[:, None, None]
