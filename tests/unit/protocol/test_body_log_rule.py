"""`[service] log_bodies` of a job file, and as a flag."""

import re

import pytest

from wattline_protocol.job.body_log import body_log_rule, body_log_table

DAY_S = 86_400.0


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"share": 0}, "share: "),
        ({"share": 2}, "share: expected a number above 0, up to 1"),
        ({"share": "much"}, "share: expected a number"),
        ({}, "expected { share = 0.01, blank = "),
        ({"share": 1, "keep": "1d"}, "expected { share = 0.01, blank = "),
        ("share=much", "share: expected a number"),
        ({"share": 1, "blank": ["name"]}, "blank: 'name' is none of email, card, phone or re:"),
        ({"share": 1, "blank": ["card", "card"]}, "blank: each entry may occur once"),
        ({"share": 1, "blank": ["re:"]}, "a pattern has 1 to 200 characters"),
        ({"share": 1, "blank": ["re:(a"]}, r"re:(a is no pattern: missing )"),
        ({"share": 1, "blank": ["re:a*"]}, "re:a* matches the empty text"),
        ({"share": 1, "blank": ["re:(?<=a)b"]}, "'(?<=' cannot be matched in linear time"),
        ({"share": 1, "blank": [r"re:(a)\1"]}, "cannot be matched in linear time"),
        ({"share": 1, "blank": [r"re:a\Z"]}, r"re:a\Z: RE2 does not know '\\Z'"),
        ({"share": 1, "blank": ["re:x{,5}y"]}, "RE2 does not know '{,'"),
        ({"share": 1, "blank": ["re:(?x)a b"]}, "RE2 does not know '(?x'"),
        ({"share": 1, "blank": ["re:(?i-x:a b)"]}, "RE2 does not know '(?i-x'"),
        ({"share": 1, "blank": [r"re:\é"]}, r"RE2 does not know '\\é'"),
        ({"share": 1, "blank": [r"re:[\b]"]}, r"re:[\b]: RE2 does not know \b in a class"),
        (
            {"share": 1, "blank": [r"re:x[^]a\\\b-]"]},
            r"RE2 does not know \b in a class; write \x08",
        ),
        (
            {"share": 1, "blank": [r"re:[\[[:alpha:]]"]},
            "classes such as [:alpha:] are not accepted",
        ),
        ({"share": 1, "blank": ["re:x(a{1001}){0}"]}, "repeats more than 1,000 times; nested"),
        ({"share": 1, "blank": ["re:((a{40}){5}|b){6}"]}, "repeats more than 1,000 times; nested"),
        ({"share": 1, "blank": ["re:.{0,999}x"]}, "re:.{0,999}x makes about 10,990 states"),
        ({"share": 1, "blank": ["re:((a{30}){30}){30}b"]}, "repeats more than 1,000 times; nested"),
        ({"share": 1, "blank": ["re:.{99}a", "email", "re:.{99}b"]}, "re:.{99}b makes about 2,180"),
        # Neither is run here: a backtracking engine is busy for minutes, or compiles for seconds.
        ({"share": 1, "blank": ["re:" + "(a?|b?|c?)" * 19 + r"\b"]}, "matches the empty text"),
        ({"share": 1, "blank": ["re:" + "(" * 150]}, "is no pattern"),
        ({"share": 1, "blank": []}, "blank: expected a list of 1 to 16 texts"),
        ({"share": 1, "retention": "1s"}, "retention: must be from 1h to 366d"),
        ({"share": 1, "retention": "long"}, "retention: expected a duration"),
    ],
)
def test_a_rule_that_is_none_is_refused_in_words(value: object, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        body_log_rule(value)


@pytest.mark.parametrize(
    "value",
    [
        {"share": 0.25, "blank": ["email", "re:x{3}"], "retention": "1d"},
        {"share": 1, "blank": ["phone"], "retention": "366d"},
        {
            "share": 1,
            "blank": [r"re:\b[\\b\x08]", r"re:\[\b][\[\:]", "re:a{900}"],
            "retention": "1d",
        },
        {"share": 1, "blank": [r"re:\\Z\\é", r"re:\(?#\{,x"], "retention": "1d"},
    ],
)
def test_a_rule_reads_as_it_is_written(value: dict[str, object]) -> None:
    assert body_log_table(body_log_rule(value)) == value


def test_all_kinds_are_blanked_for_30_days_unless_the_rule_says_otherwise() -> None:
    everything = {"blank": ("email", "card", "phone"), "retention_s": 30 * DAY_S}
    assert body_log_rule({"share": 0.01}) == {"share": 0.01, **everything}
    flag = body_log_rule("share=0.01,blank=email+card,retention=1d")
    assert flag == {"share": 0.01, "blank": ("email", "card"), "retention_s": DAY_S}
