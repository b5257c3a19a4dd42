"Numbers and amounts of money in the punctuation of any country; what is left open stays open"

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlops_lab.environments.extraction.amounts import CURRENCIES, amounts_of, money_of, number_of, numbers_of
from rlops_lab.environments.extraction.fields import field_score

SPACES = ' \u00a0\u2009\u202f'


@given(st.integers(-(10**12), 10**12), st.integers(0, 6))
def test_a_number_survives_the_punctuation_of_a_locale_that_is_said(whole, places):
    number = whole / 10**places
    english = f'{number:,.{places}f}'
    german = english.translate(str.maketrans(',.', '.,'))
    swiss = english.replace(',', "'")
    expected = float(f'{number:.{places}f}')
    assert number_of(english, 'en-GB') == number_of(swiss, 'de-CH') == number_of(german, 'de') == expected


@given(st.integers(0, 10**9), st.integers(0, 2), st.sampled_from(SPACES))
def test_spaces_set_thousands_apart(whole, places, space):
    number = whole / 10**places
    french = f'{number:,.{places}f}'.replace(',', space).replace('.', ',')
    assert number_of(french) == float(f'{number:.{places}f}')


@pytest.mark.parametrize('text', ['0.001', '0,001', '.001', '0.0010', '1e-3', '1E-03', '0.001 kg', 'about 0.001'])
def test_thousandths_are_no_ones(text):
    assert number_of(text) == 0.001


@pytest.mark.parametrize(
    'text',
    ['(1,234.50)', '-1,234.50', '\u22121234.50', '1,234.50-', '-$1,234.50', '$-1,234.50', '($1,234.50)']
    + ['$(1,234.50)', 'USD (1,234.50)', '(USD 1,234.50)', '-USD 1,234.50', '- 1,234.50', '-1.234,50', '($1.2345k)'],
)
def test_less_than_nothing(text):
    assert number_of(text) == -1234.5


@pytest.mark.parametrize(
    'text', ['SKU-1234.5', 'Total - 1234.5 USD', '1234.5 (net)', 'Lamp (1234.5 pieces)']
)
def test_dashes_and_brackets_that_are_no_minus(text):
    assert number_of(text) == 1234.5


@pytest.mark.parametrize('text', ['5,-', '5.-', '5,--', '5.\u2013', 'CHF 5.-'])
def test_a_dash_for_no_cents_is_no_minus(text):
    assert number_of(text) == 5


@pytest.mark.parametrize('text', ['12.05.2026', '1.2.3', '192.168.0.1', '1,2,3', '1.23.456,7.8'])
def test_marks_that_fit_no_number_are_none(text):
    assert number_of(text) is None


@pytest.mark.parametrize('text, both', [('1.299', [1299, 1.299]), ('1,299', [1299, 1.299]), ('12.500', [12500, 12.5])])
def test_three_digits_behind_one_mark_stay_open(text, both):
    assert numbers_of(text) == both
    assert [field_score('number', text, true)[1] for true in both] == ['right', 'right']
    assert field_score('number', text, both[0], 'en')[1] != field_score('number', text, both[0], 'de')[1]


@pytest.mark.parametrize('text', ['1,234,567', '0.299', '1234.567', '1.2345', '1.29'])
def test_other_marks_leave_nothing_open(text):
    assert len(numbers_of(text)) == 1


@pytest.mark.parametrize('near', [1300, 1298, 1299.01, -1299, 1.299e6])
def test_a_number_near_the_truth_is_not_the_truth(near):
    assert field_score('number', near, 1299.0) == (0.0, 'wrong')
    assert field_score('money', f'${near}', (1299.0, 'USD')) == (0.0, 'wrong')


@pytest.mark.parametrize('code', sorted(set(CURRENCIES.values())))
def test_every_code_is_read_on_either_side(code):
    for text in (f'{code} 12.50', f'12.50 {code}', f'12,50{code}', f'{code}12.50', f'({code} 12.50)'):
        assert money_of(text).currency == code and abs(money_of(text).amount) == 12.5, text


@pytest.mark.parametrize('name', sorted(CURRENCIES))
def test_every_name_is_read_on_either_side(name):
    for text in (f'{name} 7', f'7 {name}'):
        assert money_of(text) == (7, CURRENCIES[name]), text
    assert money_of(dict(amount=7, currency=name)) == (7, CURRENCIES[name])


@pytest.mark.parametrize(
    'text, currency',
    [('CAD $5', 'CAD'), ('$5 CAD', 'CAD'), ('A$5', 'AUD'), ('US$5', 'USD'), ('HK$ 5', 'HKD'), ('$5 (4.60 EUR)', 'USD')]
    + [('5 EUR or $6', 'EUR'), ('5 francs', None), ('5 kr', None), ('try 5', None), ('use 5 chfs', None), ('5', None)],
)
def test_a_symbol_of_many_countries_yields_to_what_names_one(text, currency):
    assert money_of(text) == (5, currency)


@pytest.mark.parametrize('text', ['$1.2m', '$1.2 million', 'USD 1,200,000', '$1,200k', '1.2mn USD', '$0.0012bn'])
def test_millions(text):
    assert field_score('money', text, (1_200_000, 'USD')) == (1.0, 'right')


def test_metres_are_no_millions():
    assert number_of('5 m') == 5 and amounts_of('5 m cable') != [(5.0, None)]


@given(st.text(max_size=30) | st.floats() | st.integers())
def test_anything_is_read_or_none(value):
    assert all(math.isfinite(number) for number in numbers_of(value)) and len(numbers_of(value)) <= 2
    assert len(money_of(value)) == 2


@pytest.mark.parametrize('locale', ['xx', 'german', '12', '-US'])
def test_an_unknown_locale_is_refused(locale):
    with pytest.raises(ValueError, match='unknown locale'):
        number_of('1', locale)
    with pytest.raises(ValueError, match='unknown locale'):
        field_score('number', '1', 1.0, locale)
