import numpy as np
from matplotlib.figure import Figure
from numpy.testing import assert_allclose

from entangle.plotting import (
    draw_accuracies,
    draw_accuracy_against,
    draw_entropies_under_attack,
    draw_levels,
    draw_robustness,
)


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


RESAMPLED = {"cnn": [[0.5, 0.7], [0.8, 0.9]], "s4": [[0.4, 0.6], [0.6, 0.8]]}
INTERVALS = {"cnn": [(0.4, 0.8), (0.8, 0.9)], "s4": [(np.nan, np.nan)] * 2}


def test_accuracies_are_drawn_as_dots_means_and_intervals():
    axes = Figure().subplots()
    draw_accuracies(axes, ["random", "natural"], RESAMPLED, INTERVALS)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["random", "natural"]
    dots = axes.lines[0].get_ydata()
    assert_allclose(dots, [50, 70, 80, 90])
    bars = axes.containers[0]
    assert bars.get_label() == "cnn"
    assert_allclose(bars.lines[0].get_ydata(), [60, 85])
    low, high = np.array(bars.lines[2][0].get_segments())[:, :, 1].T
    assert_allclose([low, high], [[40, 80], [80, 90]])
    places = [np.asarray(found.lines[0].get_xdata()) for found in axes.containers]
    assert (places[0] < places[1]).all()
    assert axes.get_ylabel() == "test accuracy (%)"


def test_accuracies_are_drawn_against_entanglement():
    axes = Figure().subplots()
    draw_accuracy_against(axes, ["random", "natural"], [0.3, 0.1], RESAMPLED, INTERVALS, "H")
    for found, means in zip(axes.containers, ([60, 85], [50, 70]), strict=True):
        assert_allclose(found.lines[0].get_xdata(), [0.3, 0.1])
        assert_allclose(found.lines[0].get_ydata(), means)
    named = {text.get_text(): text.xy for text in axes.texts}
    assert_allclose([*named["random"], *named["natural"]], [0.3, 1, 0.1, 1])
    assert axes.get_xlabel() == "H"


def test_names_of_close_places_go_to_several_lines_and_intervals_end_at_100():
    axes, names = Figure().subplots(), list("abcd")
    accuracies, ends = {"m": np.full((4, 2), 0.9)}, {"m": [(-0.2, 1.3)] * 4}
    draw_accuracy_against(axes, names, [0.0, 1.0, 0.1, 0.5], accuracies, ends, "H")
    heights = {text.get_text(): text.xyann[1] for text in axes.texts}
    assert heights["a"] == heights["d"] == heights["b"] < heights["c"]
    low, high = np.array(axes.containers[0].lines[2][0].get_segments())[:, :, 1].T
    assert_allclose([low, high], [[0] * 4, [100] * 4])


def test_curves_have_a_line_and_a_band_an_ordering():
    axes = Figure().subplots()
    values = {"random": [(0.9, 0.8, 1.1), (0.5, 0.4, 0.6)], "natural": [(0.95, 0.9, 1.0)] * 2}
    draw_robustness(axes, (0.0, 0.1), values)
    lines = {line.get_label(): line.get_ydata().tolist() for line in axes.lines}
    assert lines == {"random": [90.0, 50.0], "natural": [95.0, 95.0]}
    assert len(axes.collections) == 2
    assert axes.collections[0].get_paths()[0].vertices[:, 1].max() <= 100
    assert axes.get_ylim() == (0, 100)


def test_entropies_under_attack_stand_beside_their_control():
    axes = Figure().subplots()
    values = {"random": [(0.1, 0.1, 0.1), (0.2, 0.15, 0.25)]}
    draw_entropies_under_attack(axes, (0.0, 0.1), values, {"random": [0.1, 0.12]})
    solid, dashed, legend = axes.lines
    assert solid.get_ydata().tolist() == [0.1, 0.2]
    assert list(dashed.get_ydata()) == [0.1, 0.12]
    assert (dashed.get_linestyle(), dashed.get_color()) == ("--", solid.get_color())
    assert legend.get_label() == "same steps, random signs"
