"""Errors cross process borders whole: Ray pickles what an actor raises."""

import pickle

import pytest

from configs import errors


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
