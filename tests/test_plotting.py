import numpy as np
from matplotlib.figure import Figure
from numpy.testing import assert_allclose

from entangle.plotting import draw_levels


def test_every_order_is_a_line_and_random_orders_are_a_band():
    axes = Figure().subplots()
    random = np.array([[0.5, 0.2], [0.7, 0.4], [0.6, 0.3]])
    draw_levels(axes, [1, 2], {"as given": [0.4, 0.1], "rearranged": [0.3, 0.05]}, random)
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    assert_allclose(lines["random (3 orders)"], [0.6, 0.3])
    assert_allclose(lines["rearranged"], [0.3, 0.05])
    band = axes.collections[0].get_paths()[0].get_extents()
    assert (band.ymin, band.ymax) == (0.2, 0.7)
    assert axes.get_ylabel() == "mean entanglement entropy (nats)"
    assert [tick for tick in axes.get_xticks() if axes.get_xlim()[0] <= tick] == [1, 2]


def test_random_orders_may_be_left_out():
    axes = Figure().subplots()
    draw_levels(axes, [1, 2], {"as given": [0.4, 0.1]})
    assert len(axes.lines) == 1
    assert not axes.collections
