"""python.call: what it may reach, and what it says when it may not."""

from __future__ import annotations

from dataclasses import replace

import pytest

import settings
from engine.errors import Permanent
from engine.plan.tasktype import Effects
from tasks.python import call


@pytest.fixture
def allowing(context, root, monkeypatch):
    (root / "shopdemo").mkdir()
    (root / "shopdemo/__init__.py").write_text("from os import system\nimport os\n\nclass Odd: pass\n")
    (root / "shopdemo/prices.py").write_text(
        "def total(basket, *, tax=0): return sum(basket) + tax\n"
        "async def later(x): return [x]\n"
        "def opaque(): return object()\n"
        "def _hidden(): return 1\n"
        "def raising(): raise KeyError('here')\n"
        "VALUE = 3\n"
    )
    (root / "shopdemo/broken.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(root))

    def allow(*modules):
        return replace(context, settings=settings.load(python_call_modules=modules))

    return allow


def test_a_function_of_an_allowed_module_is_called_with_plain_data(run, allowing):
    arguments = {"basket": [1, 2], "tax": 3}
    assert run(call, given=allowing("shopdemo"), function="shopdemo.prices:total", arguments=arguments) == 6
    assert run(call, given=allowing("shopdemo.prices"), function="shopdemo.prices:later", arguments={"x": 1}) == [1]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("os:system", "python_call_modules does not allow the module 'os'"),
        ("shopdemoextra:total", "does not allow the module 'shopdemoextra'"),
        ("shopdemo:system", "does not allow the module '(posix|nt)'"),
        ("shopdemo:os", "has no function 'os'"),
        ("shopdemo:os.system", "not of the form module:function"),
        ("shopdemo.prices.total", "not of the form module:function"),
        ("shopdemo.prices:_hidden", "private"),
        ("shopdemo.prices:missing", "has no function 'missing'"),
        ("shopdemo.prices:VALUE", "has no function 'VALUE'"),
        ("shopdemo.missing:x", "cannot be imported: ModuleNotFoundError"),
        ("shopdemo.broken:x", "cannot be imported: ZeroDivisionError"),
        ("shopdemo.prices:total", "cannot be called so: missing a required argument: 'basket'"),
        ("shopdemo.prices:opaque", "no JSON data"),
    ],
)
def test_whatever_else_is_refused_and_says_why(run, allowing, function, message):
    with pytest.raises(Permanent, match=message):
        run(call, given=allowing("shopdemo"), function=function)


def test_nothing_is_allowed_unless_a_setting_says_so(run, context):
    with pytest.raises(Permanent, match="python_call_modules"):
        run(call, function="json:dumps", arguments={"obj": 1})


def test_what_the_function_raises_passes_through(run, allowing):
    with pytest.raises(KeyError, match="here"):
        run(call, given=allowing("shopdemo"), function="shopdemo.prices:raising")


def test_its_effects_are_external():
    assert call.task_type.effects is Effects.EXTERNAL
