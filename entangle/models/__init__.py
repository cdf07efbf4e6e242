"""Local networks, each in a file of its own, and a classifier that trains any of them.

Networks are torch modules that map ``(batch, channels, length)``, or ``(batch, channels, height,
width)``, to logits ``(batch, classes)``; any length will do.
"""

from entangle.models.attention import LocalTransformer
from entangle.models.classifier import LocalNetworkClassifier
from entangle.models.cnn import CNN
from entangle.models.m5 import M5
from entangle.models.mlp import MLP
from entangle.models.padded_cnn import PaddedCNN
from entangle.models.registry import MODELS, Recipe, build_model
from entangle.models.s4 import S4D

__all__ = [
    "CNN",
    "M5",
    "MLP",
    "MODELS",
    "S4D",
    "LocalNetworkClassifier",
    "LocalTransformer",
    "PaddedCNN",
    "Recipe",
    "build_model",
]
