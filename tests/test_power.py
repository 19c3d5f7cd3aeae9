"""The smallest difference that could have been shown, against other people's formulas and in exact probabilities."""

import math

import numpy
import pytest
from scipy.stats import norm

from benchmarks.seeds import power
from chattpl.report.power import connor_difference, detectable_difference


def test_it_is_the_difference_of_a_published_example():
    # Discordant shares of 0.05 and 0.45 need 22 pairs for a power of 80 % (Connor 1987, as R's ajfhelpR has it).
    assert connor_difference(22, 0.5) == pytest.approx(0.4, abs=5e-4)


@pytest.mark.parametrize(("n", "discordance"), [(60, 0.5), (200, 0.3), (1319, 0.04), (1319, 0.4)])
def test_the_power_at_that_difference_is_80_percent_by_duffys_formula(n, discordance):
    # Duffy, Biometrics 40 (1984) 1005-1015: the smaller discordant share and the ratio of both, as R's MESS has it.
    difference = connor_difference(n, discordance)
    smaller, ratio = (discordance - difference) / 2, (discordance + difference) / (discordance - difference)
    score = math.sqrt(n * smaller) * (ratio - 1) - norm.ppf(0.975) * math.sqrt(ratio + 1)
    assert norm.cdf(score / math.sqrt(ratio + 1 - smaller * (ratio - 1) ** 2)) == pytest.approx(0.8, abs=1e-6)


@pytest.mark.parametrize(("n", "discordance"), [(100, 0.3), (300, 0.1)])
def test_mcnemars_exact_test_finds_it_nearly_as_often(n, discordance):
    assert 0.73 < power(n, discordance)[1] < 0.81


def test_without_a_discordant_question_it_is_what_so_few_could_show():
    difference = connor_difference(200, 0)
    assert connor_difference(200, difference / 2) == pytest.approx(difference)  # too few to be that far apart
    assert 6 / 200 < difference < 9 / 200


def test_more_questions_show_smaller_differences():
    found = [connor_difference(n, 0.2) for n in (5, 50, 500, 5000)]
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_of_a_handful_of_questions_it_is_at_most_1(n):
    assert 0.5 < connor_difference(n, 0) <= 1
    assert 0.5 < connor_difference(n, 1) <= 1


def test_several_answers_to_a_question_show_smaller_differences():
    random = numpy.random.default_rng(0)
    one, many = ((random.binomial(k, 0.5, 300) - random.binomial(k, 0.5, 300)) / k for k in (1, 16))
    assert detectable_difference(many[None]) == pytest.approx(detectable_difference(one[None]) / 4, rel=0.15)


def test_seeds_that_differ_hide_a_difference_that_one_seed_seems_to_show():
    random = numpy.random.default_rng(0)
    alike = numpy.sign(random.standard_normal((3, 500)))
    apart = numpy.clip(alike + numpy.array([[-0.2], [0], [0.2]]), -1, 1)
    assert detectable_difference(apart) > 2 * detectable_difference(alike)


def test_seeds_that_are_more_alike_than_their_questions_let_them_be_promise_nothing():
    values = numpy.tile([1.0, 0.0, -1.0, 0.0], (3, 50))
    values[1] = numpy.roll(values[1], 1)
    values[2] = numpy.roll(values[2], 2)
    alone = detectable_difference(values.mean(0)[None])
    assert detectable_difference(values) >= alone
