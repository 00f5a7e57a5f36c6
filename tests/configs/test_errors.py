"""Errors cross process borders whole: Ray pickles what an actor raises."""

import json
import pickle
import re

import pytest

from configs import errors, json_schema


def family(kind: type[errors.LonghaulError]) -> list[type[errors.LonghaulError]]:
    return [kind, *(deeper for inner in kind.__subclasses__() for deeper in family(inner))]


@pytest.mark.parametrize("kind", family(errors.LonghaulError), ids=lambda kind: kind.__name__)
def test_an_error_survives_pickling(kind):
    error = pickle.loads(pickle.dumps(kind("input.sources = 'x': is a list")))
    assert type(error) is kind
    assert str(error) == "input.sources = 'x': is a list"


@pytest.mark.parametrize("kind", family(errors.LonghaulError), ids=lambda kind: kind.__name__)
def test_an_error_says_when_it_is_raised(kind):
    assert kind.__doc__
    assert kind.__name__ in errors.__doc__


def raised_by(action):
    try:
        action()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def test_a_foreign_error_becomes_a_document_error_with_class_message_and_place():
    foreign = raised_by(lambda: json_schema.validator(7))
    error = errors.unexpected(foreign)
    assert isinstance(error, errors.DocumentError) and error.__cause__ is foreign
    assert str(error).startswith(f"{type(foreign).__name__}: {foreign}"[:60])
    assert re.search(r" \(at configs/json_schema\.py:\d+\)$", str(error))
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_foreign_error_that_passed_no_line_of_ours_names_where_it_was_raised():
    error = errors.unexpected(raised_by(lambda: json.loads("{")))
    assert re.search(r"^JSONDecodeError: .* \(at .*decoder\.py:\d+\)$", str(error))
    assert str(errors.unexpected(KeyError())) == "KeyError"


def test_the_message_of_a_foreign_error_fits_a_column():
    error = errors.unexpected(RuntimeError("\ud83d" + "x" * 10_000))
    assert len(str(error)) < 600 and str(error).encode()
