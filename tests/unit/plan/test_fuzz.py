"""A short slice of the fuzzing; `scripts/soak fuzz --minutes 5` is the long one."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings

from tests.fuzz.checks import check_expression, check_file, check_template
from tests.fuzz.material import EXPRESSIONS, FILES, TEMPLATES

short = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@short
@given(FILES)
def test_any_file_is_refused_with_our_error_or_stays_what_it_is(raw: bytes) -> None:
    check_file(raw)


@short
@given(EXPRESSIONS)
def test_any_condition_gives_a_value_or_our_error(text: str) -> None:
    check_expression(text)


@short
@given(TEMPLATES)
def test_any_template_gives_data_or_our_error(text: str) -> None:
    check_template(text)
