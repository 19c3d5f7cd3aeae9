"""Intervals and tests against values from outside this package, and in simulated studies."""

import math

import numpy
import pytest
from scipy.stats import binom
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from benchmarks.intervals import Studies
from chattpl.report.stats import difference_interval, holm, mean_interval, paired_comparison


def gradings(both: int, only_first: int, only_second: int, neither: int) -> tuple[list[bool], list[bool]]:
    counts = (both, only_first, only_second, neither)
    pairs = [(True, True), (True, False), (False, True), (False, False)]
    rows = [pair for pair, count in zip(pairs, counts, strict=True) for _ in range(count)]
    return [row[0] for row in rows], [row[1] for row in rows]


def verdicts(correct: int, n: int) -> list[bool]:
    return [True] * correct + [False] * (n - correct)


def test_the_interval_of_8_in_10_is_the_textbook_one():
    assert mean_interval(verdicts(8, 10)) == pytest.approx((0.4902, 0.9433), abs=5e-5)


@pytest.mark.parametrize(("correct", "n"), [(0, 10), (10, 10), (1, 1), (311, 500), (659, 1319)])
def test_with_one_answer_to_a_question_the_interval_is_wilsons(correct, n):
    expected = proportion_confint(correct, n, method="wilson")
    assert mean_interval(verdicts(correct, n)) == pytest.approx(expected, abs=1e-12)


def test_a_higher_confidence_widens_the_interval():
    expected = proportion_confint(8, 10, alpha=0.01, method="wilson")
    assert mean_interval(verdicts(8, 10), confidence=0.99) == pytest.approx(expected)


def width(interval: tuple[float, float]) -> float:
    return interval[1] - interval[0]


def test_answers_to_a_question_that_always_agree_count_as_one():
    # What four answers to each question give, where all four are always right or always wrong.
    assert mean_interval(numpy.mean([verdicts(30, 100)] * 4, axis=0)) == mean_interval(verdicts(30, 100))


def test_answers_that_are_independent_of_the_question_count_nearly_all():
    means = numpy.random.default_rng(0).binomial(16, 0.3, 500) / 16
    expected = proportion_confint(means.mean() * 8000, 8000, method="wilson")
    assert width(mean_interval(means)) == pytest.approx(width(expected), rel=0.1)


def test_the_interval_follows_from_the_effective_number_of_questions():
    # By hand: the variance of single answers is 0.25, of the means 1/6, each 4 times and once more 1/4.
    means = [0, 1 / 2, 1 / 2, 1]
    effective = 4 / (0.75 / 1.25)
    expected = proportion_confint(effective / 2, effective, method="wilson")
    assert mean_interval(means) == pytest.approx(expected)


@pytest.mark.parametrize("mean", [0.0, 0.5, 1.0])
def test_questions_that_all_have_the_same_mean_have_an_interval_that_holds_it(mean):
    low, high = mean_interval([mean] * 50)
    assert 0 <= low <= mean <= high <= 1
    assert low < high


@pytest.mark.parametrize("samples", [2, 4, 16])
@pytest.mark.parametrize(("accuracy", "spread"), [(0.05, 0.3), (0.3, 0.1), (0.5, 0.6), (0.95, 0.6), (0.3, 1)])
def test_the_interval_of_several_answers_covers_95_percent(samples, accuracy, spread):
    covered = Studies(2000, seed=1).coverage(200, samples, accuracy, spread)
    assert covered == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize(("k", "samples"), [(2, 4), (8, 16)])
def test_the_interval_of_pass_at_k_covers_95_percent(k, samples):
    assert Studies(2000, seed=2).coverage_of_pass_at(k, 200, samples, 0.3, 0.3) == pytest.approx(0.95, abs=0.02)


def test_the_questions_that_one_alone_got_right_are_counted():
    found = paired_comparison([True, True, True, False, False, False], [True, True, False, True, True, False])
    assert (found.n, found.only_first, found.only_second) == (6, 1, 2)
    assert (found.accuracy_first, found.accuracy_second) == (3 / 6, 4 / 6)


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


def several(probability: float, samples: int, shift: float = 0.0) -> numpy.ndarray:
    """The means of `samples` answers to 60 questions of varied difficulty."""
    random = numpy.random.default_rng(samples)
    hardness = numpy.clip(numpy.linspace(0, 2 * probability, 60) + shift, 0, 1)
    return random.binomial(samples, hardness) / samples


def test_with_several_answers_p_is_below_5_percent_just_where_the_interval_leaves_out_0():
    seen = set()
    for shift in numpy.linspace(-0.2, 0.2, 21):
        found = paired_comparison(several(0.4, 8), several(0.4, 4, shift))
        assert (found.p < 0.05) == (not found.ci_low <= 0 <= found.ci_high)
        seen.add(found.p < 0.05)
    assert seen == {True, False}


def test_with_several_answers_p_is_the_level_whose_interval_ends_at_0():
    first, second = several(0.4, 8), several(0.4, 8, 0.06)
    found = paired_comparison(first, second)
    assert difference_interval(first, second, 1 - found.p)[1] == pytest.approx(0, abs=1e-9)
    assert paired_comparison(second, first).p == pytest.approx(found.p)


def test_more_answers_to_a_question_narrow_the_interval_of_the_difference():
    few, many = ((several(0.4, samples), several(0.4, samples + 1)) for samples in (2, 16))
    assert width(difference_interval(*many)) < width(difference_interval(*few))


def test_equal_means_show_no_difference():
    found = paired_comparison([1 / 3, 2 / 3, 1.0], [1.0, 1 / 3, 2 / 3])
    assert (found.difference, found.p) == (0.0, 1.0)


def test_a_difference_that_every_question_shows_has_a_p_value():
    found = paired_comparison([0.75] * 40, [0.25] * 40)
    assert 0 < found.p < 0.001
    assert 0 < found.ci_low < 0.5 < found.ci_high < 1


@pytest.mark.parametrize("samples", [(2, 2), (16, 16), (1, 8)])
@pytest.mark.parametrize("accuracies", [(0.1, 0.1), (0.5, 0.5), (0.3, 0.45)])
@pytest.mark.parametrize(("spread", "tie"), [(0.1, 0.95), (0.4, 0.6), (0.7, 0)])
def test_a_true_difference_is_rejected_in_5_percent_of_the_studies(samples, accuracies, spread, tie):
    rejected = Studies(2000, seed=3).rejections(200, samples, accuracies, spread, tie)
    assert rejected == pytest.approx(0.05, abs=0.02)


def test_holm_multiplies_the_smallest_p_most_and_never_changes_the_order():
    # By hand: 0.01 x 3, 0.02 x 2, then 0.03 x 1, which may not fall below the one before.
    assert holm([0.03, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])


def test_holm_agrees_with_statsmodels():
    for seed in range(3):
        p = numpy.random.default_rng(seed).random(8).round(2) ** 3
        assert holm(list(p)) == pytest.approx(multipletests(p, method="holm")[1])


def test_holm_of_no_tests_is_empty():
    assert holm([]) == []
