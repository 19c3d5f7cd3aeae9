"""Which number a reply commits to, on made-up replies of every form. Those of real models are in `test_labels.py`."""

from fractions import Fraction

import pytest

from chattpl.tasks.reading import read
from chattpl.tasks.values import value_of


def number(text):
    value = read(text).number
    return None if value is None else str(value)


@pytest.mark.parametrize(
    "statement",
    [
        "#### 18",
        "#### $18.00",
        "#### 9 + 9 = 18",
        "**#### 18**",
        "#### 18 eggs are left at the end of the day.",
        "\\(\\boxed{18}\\)",
        "She sells \\boxed{18} dozens in 60 days, 3 more than before.",
        "\\[\n\\boxed{18 \\text{ dollars}}\n\\]",
        "\\fbox{18}",
        "It is \\boxed 18.",
        "The answer is 18.",
        "The final answer is: **18**",
        "**Answer:** 18 eggs",
        "Final answer: $9 \\times 2 = 18$",
        "The answer to the question is that she has 18.",
        "So she makes $18 a day.",
        "Therefore, the price of the 2 shirts is $18.",
        "Thus she has 9 + 9 = 18 eggs",
        "#### Conclusion: Ann has 18 eggs left.",
        "In 3 days she will have 18 eggs, so she has 18.",
        "After 4 years, Ann will be 18 years old in 2 towns.",
    ],
)
@pytest.mark.parametrize("working", ["", "First, 4 + 5 = 9 of them.\nThen she doubles these 9.\n"])
def test_the_final_statement_counts_whatever_its_form(working, statement):
    assert number(working + statement) == "18"
    assert number(" " + working + statement + "\n") == "18"


@pytest.mark.parametrize(
    "end",
    [
        "So it is \\boxed{18}.",
        "#### 18",
        "#### 9 * 2 = 18",
        "The answer is 18.",
        "So she has 18.",
        "She has 9 * 2 = 18 left.",
    ],
)
def test_a_guess_before_the_working_does_not_count(end):
    assert number(f"#### 12\nLet's see. She has 4 + 5 = 9.\n\n{end}") == "18"


@pytest.mark.parametrize("end", ["So it is \\boxed{18}.", "So she has 18 in total.", "The answer is 18. ####\n\n"])
@pytest.mark.parametrize("echo", ["#### 12", "#### #### 12", "\n#### 12\n#### 12\n#### 12"])
def test_a_guess_that_comes_again_after_the_working_does_not_count(end, echo):
    assert number(f"#### 12\nShe has 4 + 5 = 9 and twice that is 18.\n{end}{echo}") == "18"


def test_a_guess_that_is_announced_as_the_answer_after_the_working_counts():
    assert number("#### 12\nShe has 4 + 5 = 9.\n\nThe final answer is:\n#### 12\n") == "12"


@pytest.mark.parametrize(
    "text",
    ["#### 12", "#### 12\n#### 12\n#### 12\n#### 1", "#### 12 eggs\n", "She has 12.\n#### 12\n```python\nx = 3\n```"],
)
def test_a_guess_without_working_is_the_answer(text):
    assert number(text) == "12"


@pytest.mark.parametrize(
    ("series", "read_as"),
    [
        ("#### 7\n" * 30 + "#### ", "7"),
        ("#### 7\n" + "#### 70\n" * 30 + "#### 7", "7"),
        ("#### 70#### 70#### 70#### 70#### 7", "70"),
        ("#### 7#### 8" * 30, None),
        ("".join(f"#### {n}\n" for n in range(30)), None),
        ("".join(f"#### {n} + 1 = {n + 1}\n" for n in range(30)) + "#### 30 +", None),
        ("#### 3 + 4 = 7\n#### 7 * 2 = 14", "14"),
        ("#### 8 / 2 = 4\n#### 4 balls", "4"),
    ],
)
def test_a_series_of_hashes_counts_if_it_settles(series, read_as):
    assert number("She has 3 + 4 of them.\n" + series) == read_as


@pytest.mark.parametrize("box", ["\\boxed{}", "\\boxed{####}", "\\boxed{\\text{Not possible}}", "\\boxed{x}"])
def test_a_final_box_without_a_number_is_an_answer_without_one(box):
    assert number(f"She has 3 - 8 = -5, which is not possible. The final answer is {box}.") is None


@pytest.mark.parametrize(
    "sentence", ["Therefore, there are no eggs left.", "This means that she does not need any more eggs."]
)
def test_a_number_that_is_said_in_words_before_an_empty_box_is_0(sentence):
    assert number(f"She has 8 - 8 of them. {sentence} The final answer is \\boxed{{####}}.") == "0"


@pytest.mark.parametrize("sentence", ["Therefore, there is no solution.", "Therefore, there are no 3 eggs."])
def test_not_every_no_before_an_empty_box_is_0(sentence):
    assert number(f"She has 3 - 8 of them. {sentence} The final answer is \\boxed{{####}}.") is None


def test_of_several_boxes_in_a_sentence_the_first_counts():
    assert number("She has \\boxed{18} eggs and \\boxed{4} boxes.") == "18"


def test_a_list_in_a_box_is_no_number():
    assert number("They have 3 + 4 eggs, so \\boxed{2, 2, 0, 1}.") is None


@pytest.mark.parametrize(
    ("line", "read_as"),
    [
        ("#### 6:00 pm", "6"),
        ("#### 18, 20, 18, 20, 18, 2", "18"),
        ("#### 1.5 1/5 1/5 1/5", "3/2"),
        ("#### 6:30 pm", None),
    ],
)
def test_what_follows_the_number_behind_hashes_is_left_aside(line, read_as):
    assert number(line) == read_as


def test_an_empty_box_leaves_the_box_before_it():
    assert number("So it is \\boxed{18}. He needs \\boxed{####} more.") == "18"


@pytest.mark.parametrize(
    "after",
    [
        " This is right, since 9 + 9 = 18 and 5 + 5 = 10.",
        "\n\nLet's check: 18 / 2 = 9, and 9 * 3 = 27. This confirms it.",
        "\n```python\nprint(2 * 8)\n```\n```output\n16\n```\n",
        "\n\n#### Explanation:\n- She has 3 boxes.\n- Each holds 6.",
    ],
)
def test_what_explains_a_box_does_not_replace_it(after):
    assert number(f"So she has \\boxed{{18}} eggs.{after}") == "18"


def test_the_box_after_a_check_replaces_the_one_before():
    assert number("So \\boxed{17}. Let's check.\n```output\n18\n```\nShe has \\boxed{18}.") == "18"


@pytest.mark.parametrize("end", ["", "18", "1"])
def test_a_last_line_that_comes_again_and_again_is_the_answer(end):
    reply = "She has 9 * 2 = 18 left.\n18\n"
    assert number(reply + "18\n" * 60 + end) == "18"
    assert read(reply + "18\n" * 60 + end).end == len(reply)


@pytest.mark.parametrize("line", ["18.", "18 eggs", "18 eggs are left on the farm"])
def test_a_line_with_one_number_that_comes_again_and_again_is_the_answer(line):
    assert number("She has 9 * 2 = 18.\n" + f"{line}\n" * 60 + line[:1]) == "18"


@pytest.mark.parametrize("times", [1, 2])
def test_a_last_line_may_end_in_a_full_stop(times):
    assert number("Let x be the eggs.\nTherefore, x = 18." + "\n18." * times) == "18"


def test_the_label_of_an_item_that_breaks_off_is_no_answer():
    assert number("1. Count the eggs of the first day.\n2. Count those of the second.\n3.") is None


def test_working_that_comes_again_and_again_commits_to_nothing():
    assert number("She has 9 * 2 = 18 eggs\n" * 60 + "She has 9") is None


def test_last_lines_that_alternate_commit_to_nothing():
    assert number("She has 9 * 2 = 18 left.\n" + "18\n9\n" * 60) is None


@pytest.mark.parametrize("last_line", ["7.5", "13.33"])
def test_a_last_line_with_a_decimal_fraction_is_the_answer_and_no_label_of_a_list(last_line):
    assert number(f"The average is 30/4 = {last_line} square feet.\n{last_line}") == str(Fraction(last_line))


def test_a_sentence_may_begin_with_a_decimal_fraction():
    assert number("It takes a while.\n2.5 hours") == "5/2"


def test_a_negative_answer_keeps_its_sign():
    assert [number(text) for text in ("The answer is -7.", "Answer: \u22127", "#### -7", "So it is -$7.")] == ["-7"] * 4


def test_headings_with_numbers_state_nothing():
    assert number("#### 1. **Add**\n3 + 4 = 7\n\n#### 2. Double\n7 * 2 = 14\n\n#### 3. Done.") == "14"
    assert number("#### 1. Ann's age: 5\n#### 2. Ben's age: 7") == "7"


WORKING = "She has 3 boxes of 6 eggs each. That makes 3 * 6 = 18 eggs in all. "


@pytest.mark.parametrize(
    "text",
    [
        WORKING + "Now we need to find out how many of the",
        WORKING + "Then she buys 4 more, so she has 18 +",
        WORKING + "Therefore, half of them are \\( 18 / 2 = 9",
        WORKING + "\n\n4. **Find the rest",
        WORKING + "Next we sum up:\n\\[\n18 + 4 = 22",
        "She doubles her 4 eggs to 8 eggs every day.\n" * 20 + "She doubles her 4 eggs",
        "".join(f"In {n} days, Ben will be {n}+5 = {n + 5} years old.\n" for n in range(30))
        + "In 30 days, Ben will be",
        "The drink is 10 * 2/3 = " + "10 liters * 2/3 = " * 50,
        "#### 12\nLet's see.\n" + WORKING + "Now, the rest is what the",
        "```python\nx = 3\nprint(x",
        "",
        "None at all.",
    ],
)
def test_a_reply_that_breaks_off_or_goes_round_in_its_working_commits_to_nothing(text):
    assert number(text) is None


@pytest.mark.parametrize(
    "text",
    [
        WORKING + "\n\nThus, the number of eggs that she",
        WORKING + "\n\nThe number of eggs is \\(\\boxed{1",
        WORKING + "\n\nThe number of eggs is \\(\\boxed{1.",
        WORKING + "Let's verify this with code.\n```python\nboxes = 3\ne",
        "- Therefore, 3 boxes are 18 eggs.\n\nNow let's sum it up.\n```python\nx",
        WORKING + "\n```python\nprint(3 * 6)\n```\n```output\n18\n```\nThe number of eggs is not",
        WORKING + "\n\n#### \n\nThis solution takes the number of",
        "#### 12\n" + WORKING + "\n\n#### 12\n\nShe has 3 boxes of",
    ],
)
def test_a_reply_that_breaks_off_after_its_working_commits_to_what_that_comes_to(text):
    assert number(text) == "18"


@pytest.mark.parametrize(
    "text",
    [
        "<think>It is 12, or is it \\boxed{14}?</think>\n\nShe has 18 eggs.",
        "<think>\nProblem: 5 eggs. So 5.\n\nQuestion: which?\n</think>\n\\boxed{18}",
        "<think>So she has 18 eggs.</think>",
    ],
)
def test_thoughts_are_not_read_where_a_reply_follows(text):
    assert number(text) == "18"


@pytest.mark.parametrize(
    ("statement", "read_as"),
    [
        ("The answer is 72 (48 in April and 24 in May).", "72"),
        ("The answer is that 72 clips were sold in April (48) and May (24).", "72"),
        ("The final answer is 72 for 3 days.", "72"),
        ("The answer is 72, since she sold 48 clips in April and 24 in May.", "72"),
        ("Answer: 72 clips, because she sold 48 clips in April.", "72"),
        ("The answer is 72 because 3 * 24 = 72 and 4 * 5 = 20.", "72"),
        ("The answer is 2.5 hours (150 minutes).", "5/2"),
        ("The answer is 72 clips in 2 months.", "72"),
        ("The answer is 50 + 22 = 72.", "72"),
        ("The answer is 3 hours * 60 = 180.", "180"),
        ("The answer to the nearest pound: 3.5 pounds is 4 pounds.", "4"),
        ("The answer is not 18 but 20.", "20"),
    ],
)
def test_of_the_numbers_in_the_statement_of_an_answer_the_one_stated_counts(statement, read_as):
    assert number(f"She sold 48 + 24 of them.\n{statement}") == read_as


@pytest.mark.parametrize("fraction", ["$\\frac{3}{4}$", "\\(\\frac{3}{4}\\)", "$\\dfrac{3}{4}$", "\\frac{3}{4}"])
@pytest.mark.parametrize("before", ["The answer is ", "Final answer: ", "#### ", "So the result is "])
def test_a_fraction_set_in_latex_is_a_number(before, fraction):
    assert number(f"{before}{fraction}") == "3/4"


@pytest.mark.parametrize("text", ["The answer is $-\\frac{3}{4}$.", "#### $-\\frac{3}{4}$", "\\boxed{-\\frac{3}{4}}"])
def test_a_fraction_set_in_latex_keeps_its_sign(text):
    assert number(text) == "-3/4"


@pytest.mark.parametrize(
    "text",
    [
        "The answer is 18. Wait, let me recompute. 9 * 3 = 27. Therefore she has 27 dollars.",
        "\\boxed{18}. Wait, that's wrong: 9*3 = 27. So it is 27.",
        "The answer is 18. I made a mistake: it is 9 times 3. So she has 27.",
        "The answer is 18. Wait, that's wrong. The correct total is 27.",
    ],
)
def test_a_conclusion_replaces_an_answer_that_is_taken_back(text):
    assert number(text) == "27"


@pytest.mark.parametrize(
    "text",
    [
        "The answer is 18. Wait, let me double check. 18 / 2 = 9. So it is right, since 9 > 2.",
        "\\boxed{18}. This is right: 9 * 2 = 18. So half of it is 9.",
    ],
)
def test_a_conclusion_of_what_takes_nothing_back_does_not_replace_an_answer(text):
    assert number(text) == "18"


def test_a_check_of_the_result_does_not_replace_it():
    assert number("Total = 72. Check: 72 - 24 = 48. Correct!") == "72"


@pytest.mark.parametrize(
    ("sentence", "value"),
    [
        ("Ann's brother will be 18 years old in 3 years.", 18),
        ("James saved $0 compared to the store, where they cost $2.5 a pound.", 0),
        ("10 ducks need 3.5 pounds of food.", "3.5"),
        ("15 women are left.", 15),
        ("Therefore, 12 eggs are left in 3 boxes.", 12),
        ("Therefore, 12 eggs remain in 3 boxes.", 12),
        ("The cat food will last for 12 days.", 12),
        ("720 grams of cat food will last for 12 days.", 12),
        ("She makes not $16 but $18.", 18),
        ("The 42 kg bag of rice will last 6 weeks.", 6),
        ("If he buys 25 pens, he will get 30 of them.", 30),
        ("She has $12 - $14 = -$2 if she takes the second one of 5.", -2),
        ("\\text{Total} = \\frac{9}{12} = \\frac{3}{4} \\text{ miles}", "3/4"),
        ("\\[ x \\approx 2.5 \\]", "2.5"),
        ("- Total = 50 + 100", None),
        ("x = 10 liters * 2/3", None),
        ("How many of the 7 are left?", None),
        ("None.", None),
    ],
)
def test_a_sentence_comes_to_what_its_verb_or_equality_gives(sentence, value):
    assert value_of(sentence) == (None if value is None else Fraction(value))


@pytest.mark.parametrize(
    "opening", ["Question:", "Q:", "Problem 2:", "**Question:**", "### Problem:", "Exercise 2\n", "Human:"]
)
@pytest.mark.parametrize("reply", ["#### 18", "18", "The answer is 18.", "It is \\(\\boxed{18}\\)."])
def test_another_question_is_not_read(reply, opening):
    text = f"{reply}\n\n{opening} Tom has 3 and 4 apples. How many?\n#### 7"
    assert number(text) == "18"
    assert text[: read(text).end].strip() == reply


@pytest.mark.parametrize(
    "text",
    [
        "Question: Tom has 9 and 9 apples.\nAnswer: 18",
        "Problem: two nines.\n\nHe has 9 + 9 = 18.",
        "The question is what 2 * 9 is: 18",
        "#### 18 (see Problem set)",
    ],
)
def test_the_question_once_more_is_no_other_question(text):
    assert (number(text), read(text).end) == ("18", None)


@pytest.mark.parametrize(
    ("text", "read_as"),
    [
        ("Adult: 3 * 10 = 30\nStudent: 2 * 5 = 10\nTotal: 30 + 10 = 40\n\nThe answer is 40.", "40"),
        ("#### 12\nAdult: 3 * 10 = 30\nStudent: 2 * 5 = 10\n#### 40", "40"),
        ("Sales by quarter:\nQ1: 100\nQ2: 200\nQ3: 300\nTotal: 600\n\n#### 600", "600"),
        ("Reading: 20 minutes\nExercise: 30 minutes\nTotal: 50 minutes\n#### 50", "50"),
        ("Admin: 10 GB\nUser: 5 GB\nTotal 15 GB\n#### 15", "15"),
        ("16 eggs, 7 are used.\nProblem: find her revenue.\n(16 - 7) * 2 = 18\n\\boxed{18}", "18"),
        ("There are 3 parts.\nQuestion: how much does she earn?\n9 * 2 = 18\n\\boxed{18}", "18"),
        ("48 / 2 = 24. The next question is how many in total: 48 + 24 = 72.\n#### 72", "72"),
        ("Problem 1: 3 + 4 = 7\nProblem 2: 7 * 2 = 14\n\nThe answer is 14.", "14"),
        ("The answer is 40, namely:\nAdult: 3 * 10 = 30\nStudent: 2 * 5 = 10", "40"),
    ],
)
def test_a_label_in_the_working_opens_no_other_question(text, read_as):
    assert (number(text), read(text).end) == (read_as, None)


@pytest.mark.parametrize("label", ["Question:", "Q:", "User:", "Student:", "Exercise 2:", "Q2:"])
def test_another_problem_ends_a_reply_that_states_no_answer(label):
    text = f"She has 9 + 9 = 18 left.\n\n{label} Tom has 3 apples. He buys 4. How many has he?\nAnswer: 7"
    assert (number(text), text[: read(text).end].strip()) == ("18", "She has 9 + 9 = 18 left.")


@pytest.mark.parametrize("label", ["User:", "Student:", "Exercise 2:", "Q2:"])
def test_a_role_that_asks_ends_a_reply_that_states_an_answer(label):
    text = f"#### 18\n\n{label} Thanks, and how many are left?\n#### 7"
    assert (number(text), text[: read(text).end].strip()) == ("18", "#### 18")
