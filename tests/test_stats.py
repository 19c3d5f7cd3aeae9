"""Intervals and tests against values from outside this package."""

import math

import pytest
from scipy.stats import binom
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from chattpl.report.stats import holm, paired_comparison, wilson_interval


def gradings(both: int, only_first: int, only_second: int, neither: int) -> tuple[list[bool], list[bool]]:
    counts = (both, only_first, only_second, neither)
    pairs = [(True, True), (True, False), (False, True), (False, False)]
    rows = [pair for pair, count in zip(pairs, counts, strict=True) for _ in range(count)]
    return [row[0] for row in rows], [row[1] for row in rows]


def test_wilson_interval_of_8_in_10_is_the_textbook_one():
    assert wilson_interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=5e-5)


@pytest.mark.parametrize(("correct", "n"), [(0, 10), (10, 10), (1, 1), (311, 500), (659, 1319)])
def test_wilson_interval_agrees_with_statsmodels(correct, n):
    expected = proportion_confint(correct, n, method="wilson")
    assert wilson_interval(correct, n) == pytest.approx(expected, abs=1e-12)


def test_a_higher_confidence_widens_the_wilson_interval():
    expected = proportion_confint(8, 10, alpha=0.01, method="wilson")
    assert wilson_interval(8, 10, confidence=0.99) == pytest.approx(expected)


def test_without_observations_any_accuracy_is_possible():
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_the_four_outcomes_are_counted():
    found = paired_comparison([True, True, True, False, False, False], [True, True, False, True, True, False])
    assert (found.n, found.both, found.only_first, found.only_second, found.neither) == (6, 2, 1, 2, 1)


@pytest.mark.parametrize(
    ("table", "difference", "low", "high"),
    [
        # Fagerland, Lydersen, Laake (2014): hyper-responsiveness before and after a transplantation.
        ((1, 1, 7, 12), -0.286, -0.507, -0.026),
        # Altman et al., Statistics with Confidence (2000), table 6.2.
        ((14, 5, 0, 22), 0.122, 0.011, 0.226),
    ],
)
def test_the_paired_interval_is_that_of_published_examples(table, difference, low, high):
    found = paired_comparison(*gradings(*table))
    assert (found.difference, found.ci_low, found.ci_high) == pytest.approx((difference, low, high), abs=6e-4)


def test_swapping_the_two_formats_turns_the_sign_alone():
    first, second = gradings(40, 12, 5, 43)
    there, back = paired_comparison(first, second), paired_comparison(second, first)
    assert (there.difference, there.ci_low, there.ci_high) == pytest.approx(
        (-back.difference, -back.ci_high, -back.ci_low)
    )


def test_pairing_narrows_the_interval_where_the_formats_agree_mostly():
    agreeing, crossed = paired_comparison(*gradings(45, 10, 5, 40)), paired_comparison(*gradings(25, 30, 25, 20))
    assert agreeing.difference == pytest.approx(crossed.difference)
    assert agreeing.ci_high - agreeing.ci_low < crossed.ci_high - crossed.ci_low


def test_p_is_twice_the_binomial_tail_of_the_discordant_samples():
    found = paired_comparison(*gradings(30, 9, 2, 20))
    assert found.p == pytest.approx(2 * binom.cdf(2, 11, 0.5))
    assert found.p == pytest.approx(2 * (1 + 11 + 55) / 2**11)


def test_p_agrees_with_mcnemar_of_statsmodels():
    assert paired_comparison(*gradings(101, 121, 59, 33)).p == pytest.approx(mcnemar([[101, 121], [59, 33]]).pvalue)


def test_equal_gradings_show_no_difference_and_p_of_one():
    found = paired_comparison([True, False] * 10, [True, False] * 10)
    assert (found.difference, found.p) == (0.0, 1.0)
    assert found.ci_low < 0 < found.ci_high


@pytest.mark.parametrize("table", [(10, 0, 0, 0), (0, 0, 0, 10), (0, 10, 0, 0), (0, 0, 1, 0)])
def test_degenerate_tables_have_a_finite_interval_that_holds_the_difference(table):
    found = paired_comparison(*gradings(*table))
    assert all(math.isfinite(value) for value in (found.ci_low, found.ci_high))
    assert -1 <= found.ci_low <= found.difference <= found.ci_high <= 1


@pytest.mark.parametrize(("first", "second"), [([], []), ([True], [True, False])])
def test_gradings_that_cannot_be_paired_are_refused(first, second):
    with pytest.raises(ValueError, match="same samples"):
        paired_comparison(first, second)


def test_holm_multiplies_the_smallest_p_most_and_never_changes_the_order():
    # By hand: 0.01 x 3, 0.02 x 2, then 0.03 x 1, which may not fall below the one before.
    assert holm([0.03, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])


def test_holm_of_no_tests_is_empty():
    assert holm([]) == []
