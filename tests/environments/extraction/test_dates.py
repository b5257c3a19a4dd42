"Days in the forms that pages and models use; a day that could be two is none"

import datetime
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlops_lab.environments.extraction.dates import MONTHS, date_of, month_number
from rlops_lab.environments.extraction.documents import document
from rlops_lab.environments.extraction.fields import field_score

DAYS = st.dates(datetime.date(1970, 1, 1), datetime.date(2067, 12, 31))


@given(DAYS, st.times())
def test_every_iso_form(day, time):
    when = datetime.datetime.combine(day, time)
    forms = [day.isoformat(), f'{day:%G-W%V-%u}', f'{day:%Y-%j}', f'{day:%Y/%m/%d}', when.isoformat(), str(when)]
    forms += [f'{when.isoformat()}Z', f'{when.isoformat()}+02:00', f'{day:%Y%m%d}', f'({day})', f'{day}/{day}', when]
    for form in forms:
        assert date_of(form) == day, form


@given(DAYS)
def test_figures_are_read_in_the_order_of_the_locale(day):
    for year in (f'{day:%Y}', f'{day:%y}'):
        for mark in '/-':
            american = f'{day:%m}{mark}{day:%d}{mark}{year}'
            european = f'{day:%d}{mark}{day:%m}{mark}{year}'
            assert date_of(american, 'en-US') == day == date_of(european, 'en-GB') == date_of(european, 'fr')
        assert date_of(f'{day.day}.{day.month}.{year}') == day == date_of(f'{day.day}. {day.month}. {year}')


@given(DAYS)
def test_without_a_locale_strokes_are_read_where_they_leave_no_doubt(day):
    for form in (f'{day:%m/%d/%Y}', f'{day:%d/%m/%Y}', f'{day:%d-%m-%Y}'):
        assert date_of(form) == (day if day.day > 12 or day.day == day.month else None)
        assert date_of(form, 'en') == date_of(form)


@given(DAYS)
def test_words(day):
    month = MONTHS[day.month - 1]
    for name in (month, month[:3], month[:3].upper() + '.', month.lower()):
        forms = [f'{day.day} {name} {day.year}', f'{name} {day.day}, {day.year}', f'{day.day}-{name}-{day.year}']
        forms += [f'the {day.day}th of {name} {day.year}', f'Monday, {name} {day.day} {day.year}']
        forms += [f'{day.year} {name} {day.day}']
        for form in forms:
            assert date_of(form) == day, form


@pytest.mark.parametrize(
    'text',
    ['3. März 2026', '3 mars 2026', '3 de marzo de 2026', '3 marzo 2026', '3 maart 2026', '3 de março de 2026'],
)
def test_months_of_other_languages(text):
    assert date_of(text) == datetime.date(2026, 3, 3)


@pytest.mark.parametrize(
    'text',
    ['2026-02-30', '31 April 2026', '2026-00-10', '2026-W54-1', '2026-000', '2026-366', '32.1.2026', 'May 2026']
    + ['2026', '', '3 mayors 2026', '1.2.3.4', 'version 10.11.12.13', 'Q3 2026', '20261301']
    + [None, [], {}, dict(year=2026), 3.5],
)
def test_what_is_no_day_is_none(text):
    assert date_of(text) is None


def test_a_beginning_of_two_months_is_none():
    assert month_number('jui') is None and month_number('juil') == 7 and month_number('ma') is None


def test_the_machines_locale_changes_no_document():
    "In a child, since the locale is the process's"
    code = """
import locale, sys
for name in ('de_DE.UTF-8', 'fr_FR.UTF-8', 'es_ES.UTF-8', 'nl_NL.UTF-8'):
    try: locale.setlocale(locale.LC_TIME, name); break
    except locale.Error: continue
else: sys.exit(77)
from rlops_lab.environments.extraction.documents import document
print([document('invoice', seed).text for seed in range(20)])
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, encoding='utf-8')
    if done.returncode == 77:
        pytest.skip('the machine has no locale but English')
    assert done.stdout.strip() == str([document('invoice', seed).text for seed in range(20)])


@pytest.mark.parametrize(
    'true', [datetime.date(2026, 5, 3), datetime.datetime(2026, 5, 3, 10), '2026-05-03', '3 May 2026']
)
def test_a_truth_may_be_text(true):
    assert field_score('date', '2026-05-03T00:00:00', true) == (1.0, 'right')


@pytest.mark.parametrize(
    'kind, true',
    [('date', '03/05/2026'), ('date', 5), ('number', 'many'), ('money', '5 kr'), ('money', 5), ('yesno', 'maybe')]
    + [('price', 5), ('money', ('a lot', 'USD'))],
)
def test_a_truth_that_cannot_be_read_is_not_the_models_fault(kind, true):
    with pytest.raises(ValueError, match='is no|unknown type'):
        field_score(kind, 'anything', true)
