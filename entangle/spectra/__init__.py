r"""Geometry and spectra of neural codes, and how they go with robustness.

The eigenvalues of the covariance of a layer's activations tell how a network spreads what it
encodes over dimensions; their decay :math:`\lambda_n \sim n^{-\alpha}` bounds how smooth the code
can be.
"""

from __future__ import annotations

__all__: list[str] = []
