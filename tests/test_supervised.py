import numpy as np
from numpy.testing import assert_array_equal

from entangle.supervised import stratified_split


def test_a_split_takes_its_share_of_every_class():
    codes = np.repeat([0, 1, 2, 3], [40, 10, 2, 1])
    rows, held = stratified_split(codes, 0.2, np.random.default_rng(0))
    assert_array_equal(np.sort(np.concatenate([rows, held])), np.arange(53))
    assert_array_equal(np.bincount(codes[held], minlength=4), [8, 2, 1, 0])
    assert stratified_split(codes, 0.0, np.random.default_rng(0))[1].size == 0
