"""What a file may say, and what is said of what it may not."""

from __future__ import annotations

import re
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.theme import BUILTIN_THEMES

from kvmtop.config.preferences import BY_NAME, SETTINGS, THEMES, Preferences, read
from kvmtop.insight.finding import USUAL
from kvmtop.tables import exit_reasons

WRONG = [
    # file                                                      sentence
    ('interval = "x"', "line 1: interval is not a number from 0.1 to 3600; 1 is taken"),
    ("interval = 0", "line 1: interval is not a number from 0.1 to 3600; 1 is taken"),
    ("interval = nan", "line 1: interval is not a number from 0.1 to 3600; 1 is taken"),
    ("interval = true", "line 1: interval is not a number from 0.1 to 3600; 1 is taken"),
    ('\n#\nsort = "nonsense"', 'line 3: sort is none of reason, rate, .*; "time" is taken'),
    ("idle = 1", "line 1: idle is neither true nor false; false is taken"),
    ('theme = "darc"', 'line 1: theme is none of dark, light, .*; "dark" is taken'),
    ('[columns]\nreasons = "rate"', r"line 2: columns.reasons is no list of names; \[\] is taken"),
    ("[columns]\nreasons = [1]", r"line 2: columns.reasons has '1', which is none of reason, .*; \[\] is taken"),
    ('[findings]\nwait = 10\n\nwiat = "x"', "line 4: there is no setting 'findings.wiat': did you mean findings.wait?"),
    ("[secret]\nwait = 1", r"line 1: there is no setting 'secret' \(kvmtop config lists them\)"),
    ("columns = 1", "line 1: there is no setting 'columns'"),
    ('"a\\u001b[2J" = 1', r"there is no setting 'a \[2J'"),
]


@pytest.mark.parametrize(("text", "sentence"), WRONG)
def test_each_wrong_line_is_one_sentence(text: str, sentence: str) -> None:
    _, (found,) = read(tomllib.loads(text), text)
    assert re.match(sentence, found), found
    assert found.isprintable()


def test_the_other_lines_count() -> None:
    text = 'interval = "x"\nsort = "p99"\n[findings]\nwait = 10'
    found, wrong = read(tomllib.loads(text), text)
    assert len(wrong) == 1 and found.word("sort") == "p99" and found.number("interval") == 1.0
    assert found.limits.wait == 0.10 and found.limits.user == USUAL.user


def test_themes_are_ours_and_those_of_textual() -> None:
    assert list(THEMES) == ["dark", "light", *sorted(BUILTIN_THEMES)]


def test_a_whole_file() -> None:
    text = 'interval = 5\nreverse = true\n[columns]\nreasons = ["p99", "rate", "p99"]'
    found, wrong = read(tomllib.loads(text), text)
    assert not wrong and found.number("interval") == 5.0 and found.is_on("reverse")
    assert found.words("columns.reasons") == ("reason", "p99", "rate") and found.words("columns.vms") == ()


def test_the_defaults_are_what_is_there_without_a_file() -> None:
    nothing = Preferences({})
    assert read(tomllib.loads(nothing.text()), nothing.text()) == (
        Preferences({s.name: s.default for s in SETTINGS}),
        [],
    )
    assert nothing.limits == USUAL


values = st.fixed_dictionaries(
    {},
    optional={
        "interval": st.floats(0.1, 3600),
        "idle": st.booleans(),
        "theme": st.sampled_from(["light", "nord"]),
        "columns.reasons": st.lists(st.sampled_from(sorted(exit_reasons.BY_KEY)), unique=True).map(
            lambda keys: tuple(dict.fromkeys(["reason", *keys]) if keys else ())
        ),
    },
)


@given(values)
def test_what_is_printed_says_the_same_when_it_is_read(values: dict[str, object]) -> None:
    found = Preferences(values)  # type: ignore[arg-type]
    again, wrong = read(tomllib.loads(found.text()), "")
    assert not wrong and {name: again.values[name] for name in values} == values
    assert len(again.values) == len(BY_NAME)
