"All modules of tokenomics: units in names, numbers like arrays, a test for each function, a source for each constant"

import importlib
import inspect
import math
import pkgutil
import pydoc
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from money import API, OWN, near

from rlops_lab import tokenomics
from rlops_lab.tokenomics.decisions import Option, bill, break_even_cases, contact_usd
from rlops_lab.tokenomics.design_choices import cached_prompt_usd_per_mtok, waiting_share
from rlops_lab.tokenomics.payback import payback
from rlops_lab.tokenomics.prices import Assumption
from rlops_lab.stats import Estimate

MODULES = {
    found.name: importlib.import_module(f'rlops_lab.tokenomics.{found.name}')
    for found in pkgutil.iter_modules(tokenomics.__path__)
}
ABOUT_MONEY = ['decisions', 'voice', 'design_choices', 'payback', 'uncertainty', 'tornado', 'scorecard']
FORBIDDEN = {'price', 'cost', 'costs', 'fee', 'rate', 'tokens', 'volume', 'requests', 'time'}


def functions(module):
    "The public functions it defines"
    found = vars(module).items()
    public = [thing for name, thing in found if inspect.isfunction(thing) and not name.startswith('_')]
    return [function for function in public if function.__module__ == module.__name__]


# ---- units never mix


@pytest.mark.parametrize('name', ABOUT_MONEY)
def test_names_carry_their_units(name):
    "A call shows dollars per what: no parameter is called price, cost, rate, tokens or volume"
    for function in functions(MODULES[name]):
        for parameter in inspect.signature(function).parameters:
            assert parameter not in FORBIDDEN, (function, parameter)
            assert 'mtok' not in parameter or 'usd_per_mtok' in parameter
            assert 'ktok' not in parameter and 'thousand' not in parameter


def test_a_thousand_is_a_thousand():
    "Scaling money scales money, scaling cases scales cases: no hidden thousand or million anywhere"
    assert contact_usd(20.0, 0.8, 13_500.0) == near(1000 * contact_usd(0.02, 0.8, 13.5))
    tenth = Option(**{**vars(OWN), 'usd_per_server_hour': 0.3, 'people_usd_per_month': 500})
    assert break_even_cases(Option('API', 0.9, 0.05 * 10), OWN) == near(break_even_cases(API, tenth))
    thousands, units = payback(20_000, 6_000, 100_000, 18), payback(20.0, 6.0, 100.0, 18)
    assert thousands.best_usd == near(1000 * units.best_usd, rel=1e-6)
    small = cached_prompt_usd_per_mtok(2.0, 0.2, 2.5, 0.5)
    assert cached_prompt_usd_per_mtok(2e3, 0.2e3, 2.5e3, 0.5) == near(1000 * small)


@pytest.mark.parametrize(
    'function, numbers',
    [
        (lambda volume: bill(OWN, volume).usd, [0.0, 1e3, 2e5, 3e6]),
        (lambda usd: break_even_cases(Option('API', 0.9, usd), OWN), [0.01, 0.04, 0.05]),
        (lambda pace: payback(50_000, 6_000, 150_000, pace).months, [7.0, 15.0, math.inf]),
        (lambda servers: waiting_share(servers, 0.75), [4, 16]),
        (lambda load: waiting_share(4, load), [0.7, 0.8]),
    ],
)
def test_arrays_answer_as_numbers_do(function, numbers):
    assert function(np.array(numbers)).tolist() == [float(function(number)) for number in numbers]


# ---- everything public is tested


def test_every_public_function_of_tokenomics_is_called_by_a_test():
    tests = '\n'.join(path.read_text() for path in Path(__file__).parent.glob('test_*.py'))
    for module in MODULES.values():
        for function in functions(module):
            assert re.search(rf'\b{function.__name__}\(', tests), f'{module.__name__}.{function.__name__}'


# ---- constants


def assumptions(module):
    "{name: Assumption} of its constants, those inside tables too"
    constants = {name: getattr(module, name) for name in module.__all__ if name.isupper()}
    tables = {name: table for name, table in constants.items() if isinstance(table, dict)}
    inside = {f'{name} {key}': value for name, table in tables.items() for key, value in table.items()}
    figures = {name: getattr(value, 'usd', value) for name, value in (constants | inside).items()}
    return {name: figure for name, figure in figures.items() if isinstance(figure, Assumption)}


def without_layout(text):
    return re.sub(r'[|\s]', '', text)


def shown(thing):
    "What help() prints, without its layout"
    return without_layout(pydoc.plain(pydoc.render_doc(thing)))


@pytest.mark.parametrize('name', MODULES)
def test_help_shows_source_date_and_range_of_every_constant(name):
    page = shown(MODULES[name])
    for constant, found in assumptions(MODULES[name]).items():
        assert found.source and found.date and found.unit, constant
        assert found.low < found.value < found.high, constant
        assert without_layout(found.source) in page and found.date in page, constant
        forms = [f'[{found.low:{form}},{found.high:{form}}]' for form in ('.3g', '.4g', '.2f')]
        forms.append(f'low={found.low},high={found.high}')
        assert any(form in page for form in forms), constant


@pytest.mark.parametrize('name', MODULES)
def test_a_range_as_default_names_its_source(name):
    for function in functions(MODULES[name]):
        for parameter in inspect.signature(function).parameters.values():
            if isinstance(parameter.default, Estimate):
                assert isinstance(parameter.default, Assumption)


@pytest.mark.parametrize('name', MODULES)
def test_help_on_one_constant_shows_it(name):
    for constant, found in assumptions(MODULES[name]).items():
        assert without_layout(found.source) in shown(found) and found.date in shown(found), constant


@pytest.mark.parametrize('name', ABOUT_MONEY)
def test_no_torch(name):
    code = f"import rlops_lab.tokenomics.{name}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0
