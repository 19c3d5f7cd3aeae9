"""Intervals over several seeds and of interactions, against references and in simulated studies."""

import numpy
import pytest
from scipy.stats import norm, t, ttest_1samp
from statsmodels.stats.anova import AnovaRM

from benchmarks.seeds import QUANTILES, SHARES, Studies, normal_coverage, share
from chattpl.report.seeds import bootstrap_interval, quantile_distance, seed_spread, variances
from chattpl.report.stats import (
    difference_interval,
    interaction,
    interaction_interval,
    mean_interval,
    paired_comparison,
    pooled_difference_interval,
    pooled_interval,
)

N = 200


@pytest.fixture
def random() -> numpy.random.Generator:
    return numpy.random.default_rng(0)


def verdicts(random, seeds: int, shift: float = 0.0) -> numpy.ndarray:
    """Answers of several seeds to questions of varied difficulty."""
    return (random.standard_normal((1, N)) + random.standard_normal((seeds, N)) + shift > 0).astype(float)


def test_with_one_seed_nothing_changes(random):
    one, other = verdicts(random, 1), verdicts(random, 1)
    assert pooled_interval(one) == mean_interval(one[0])
    assert pooled_difference_interval(one, other) == difference_interval(one[0], other[0])
    assert paired_comparison(one, other) == paired_comparison(one[0], other[0])


def test_the_variances_of_seeds_and_questions_are_those_of_a_two_way_analysis(random):
    import pandas

    values = random.standard_normal((3, 20)) + random.standard_normal((3, 1)) + random.standard_normal((1, 20))
    rows = [(seed, question, values[seed, question]) for seed in range(3) for question in range(20)]
    frame = pandas.DataFrame(rows, columns=["seed", "question", "value"])
    by_seed = AnovaRM(frame, "value", "question", within=["seed"]).fit().anova_table["F Value"].iloc[0]
    by_question = AnovaRM(frame, "value", "seed", within=["question"]).fit().anova_table["F Value"].iloc[0]
    of_seeds, of_questions, both = variances(values)
    assert (of_seeds / both, of_questions / both) == pytest.approx((by_seed, by_question))


def test_where_only_seeds_differ_the_interval_is_students(random):
    shifts = 0.1 * random.standard_normal(4)
    values = 0.5 + shifts[:, None] * numpy.ones((4, N))
    expected = ttest_1samp(shifts, 0).confidence_interval(0.95)
    found = pooled_difference_interval(values, numpy.full((4, N), 0.5))
    assert found == pytest.approx((expected.low, expected.high), rel=0.01)


def test_where_only_seeds_differ_p_is_students():
    shifts = 0.1 * numpy.array([1.0, 3, 2, -1, 0, 2])
    values = 0.5 + shifts[:, None] * numpy.ones((6, N))
    found = paired_comparison(values, numpy.full((6, N), 0.5))
    assert found.p == pytest.approx(ttest_1samp(shifts, 0).pvalue, rel=0.01)


def test_where_seeds_contribute_nothing_the_interval_is_that_of_the_questions():
    values = numpy.tile([1.0, 0, 1, 1, 0], (3, 40))
    assert pooled_interval(values) == pytest.approx(mean_interval(values[0]))


def test_the_quantile_is_the_normal_one_without_seeds_and_students_without_questions():
    found = [quantile_distance(of_seeds, 1 - of_seeds, 3, 0.975) for of_seeds in (0, 1)]
    assert found == pytest.approx([norm.ppf(0.975), t.ppf(0.975, 2)])


@pytest.mark.parametrize(("seeds", "lowest", "highest"), [(2, 0.94, 0.97), (3, 0.945, 0.96), (5, 0.945, 0.955)])
def test_of_normal_values_an_interval_covers_95_percent_whatever_the_seeds_share(seeds, lowest, highest):
    covered = [normal_coverage(QUANTILES["the report's"], seeds, share) for share in SHARES]
    assert lowest < min(covered)
    assert max(covered) < highest


def test_a_level_of_1_percent_is_one_and_a_half_at_most_with_three_seeds_whatever_their_share():
    covered = [normal_coverage(QUANTILES["the report's"], 3, share, confidence=0.99) for share in SHARES]
    assert min(covered) > 0.985


def test_the_computed_coverage_of_students_quantile_is_exact_where_only_seeds_contribute():
    assert normal_coverage(lambda share, seeds, level: t.ppf(level, seeds - 1), 3, 1.0) == pytest.approx(0.95, abs=1e-4)


def test_a_higher_confidence_widens_the_interval_over_seeds(random):
    one, other = verdicts(random, 2, shift=0.5), verdicts(random, 2)
    ends = numpy.array([pooled_difference_interval(one, other, each) for each in numpy.linspace(0.01, 0.9999, 50)])
    assert (numpy.diff(ends, axis=0) * [-1, 1] >= 0).all()


def test_the_spread_between_seeds_is_their_standard_deviation():
    means = numpy.array([0.2, 0.3, 0.5])
    assert seed_spread(numpy.outer(means, numpy.ones(10))) == pytest.approx(numpy.std(means, ddof=1))


def test_seeds_that_differ_widen_the_interval(random):
    alike = verdicts(random, 3)
    apart = numpy.where(random.random((3, N)) < numpy.array([[0.0], [0.1], [0.2]]), 1.0, alike)
    widths = [numpy.diff(pooled_interval(values))[0] for values in (alike, apart)]
    assert widths[1] > 1.5 * widths[0]


def test_the_same_seeds_give_the_same_bootstrap(random):
    values = verdicts(random, 3)
    assert bootstrap_interval(values) == bootstrap_interval(values.copy())


def test_the_bootstrap_of_one_seed_is_about_the_interval_of_the_mean(random):
    values = verdicts(random, 1)
    expected = values.mean() + t.ppf([0.025, 0.975], N - 1) * values.std(ddof=1) / numpy.sqrt(N)
    assert bootstrap_interval(values) == pytest.approx(expected, abs=0.01)


def test_a_comparison_of_several_seeds_says_how_far_they_are_apart(random):
    one, other = verdicts(random, 3, shift=0.5), verdicts(random, 3)
    found = paired_comparison(one, other)
    assert found.seeds == 3
    assert found.seed_sd == pytest.approx((one - other).mean(1).std(ddof=1))
    assert found.bootstrap_low < found.difference < found.bootstrap_high
    assert found.p < 0.05 < paired_comparison(one, one[::-1]).p


def test_with_several_seeds_p_is_below_5_percent_just_where_the_interval_leaves_out_0(random):
    seen = set()
    for shift in numpy.linspace(-0.3, 0.3, 15):
        found = paired_comparison(verdicts(random, 3, shift), verdicts(random, 3))
        assert (found.p < 0.05) == (not found.ci_low <= 0 <= found.ci_high)
        seen.add(found.p < 0.05)
    assert seen == {True, False}


# Interactions


def test_an_interaction_is_the_difference_of_the_two_differences(random):
    a, b, c, d = (verdicts(random, 1, shift)[0] for shift in (0.5, 0, 0, 0.5))
    found = interaction((a, b), (c, d))
    assert found.difference == pytest.approx(a.mean() - b.mean() - c.mean() + d.mean())
    assert (found.accuracy_first, found.accuracy_second) == pytest.approx((a.mean() - b.mean(), c.mean() - d.mean()))
    assert found.p < 0.05


def test_its_interval_is_about_that_of_the_questions_own_differences(random):
    a, b, c, d = (verdicts(random, 1, shift) for shift in (0.5, 0, 0, 0.3))
    own = (a - b - c + d)[0]
    expected = ttest_1samp(own, 0).confidence_interval(0.95)
    assert interaction_interval((a, b), (c, d)) == pytest.approx((expected.low, expected.high), abs=0.01)


def test_two_equal_differences_have_no_interaction(random):
    a, b = verdicts(random, 1, 0.5)[0], verdicts(random, 1)[0]
    found = interaction((a, b), (a, b))
    assert (found.difference, found.p, found.only_first) == (0.0, 1.0, 0)


# Simulated studies


@pytest.mark.parametrize("effect", [0, 0.05, 0.15])
@pytest.mark.parametrize("samples", [1, 4])
def test_intervals_over_three_seeds_cover_95_percent(effect, samples):
    found = Studies(2000, seed=1).coverages((N, 3, samples), 0.5, 0.1, effect)
    assert found == {what: pytest.approx(0.95, abs=0.018) for what in found}


def test_the_interval_of_an_interaction_covers_95_percent():
    found = Studies(2000, seed=2).coverages((200, 1, 4), 0.3, 0.1, 0)
    assert found["interaction"] == pytest.approx(0.95, abs=0.015)


def test_a_single_seed_says_nothing_of_the_others():
    [arm] = Studies(1000, seed=3).arms((1319, 1, 1), [0.5], 0.15, 500)
    assert share(pooled_interval(arm), 0.5) < 0.7
