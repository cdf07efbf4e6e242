"""Weights of pairs of features, a block of rows at a time.

N features have N^2 weights, more than fit for many of them. Whatever yields any block of their
rows serves both the full matrix and the strongest neighbours of each feature.
"""
