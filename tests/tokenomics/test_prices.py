"Prices: what a silent price table must not do to a report"

import subprocess
import sys
import warnings
from datetime import UTC, date, datetime

import pytest
from genai_prices import Usage as TheirUsage
from genai_prices import calc_price, extract_usage
from hypothesis import given, settings
from hypothesis import strategies as st

from rlops_lab.core import Usage
from rlops_lab.stats import Estimate
from rlops_lab.tokenomics.prices import (
    ASSISTED_CONTACT,
    TWO_CORES,
    Assumption,
    cost_per_resolution,
    list_price,
    machine_usd,
    own_price,
    price,
    price_history,
    sellers,
)
from rlops_lab.tokenomics.price_table import find_model, read_usage


@pytest.mark.parametrize(
    'model', ['gpt-6-luna', 'gpt-6-astra', 'claude-fable-5-2', 'claude-sonnet-4-5', 'gpt-4o', 'o3']
)
@pytest.mark.parametrize('tokens', [(1000, 0, 50), (5000, 4000, 300), (250_000, 0, 10), (300_000, 0, 10)])
def test_one_request_costs_what_the_table_says(model, tokens):
    prompt, cached, out = tokens
    mine = price(model, Usage(prompt, cached, out, calls=1))
    fresh = (
        dict(cache_write_tokens=prompt - cached) if cached and mine.list.written != mine.list.input else {}
    )
    usage = TheirUsage(input_tokens=prompt, cache_read_tokens=cached, output_tokens=out, **fresh)
    theirs = calc_price(usage, model, genai_request_timestamp=mine.list.when)
    assert mine.usd == pytest.approx(float(theirs.total_price), rel=1e-9)


def test_many_short_requests_are_not_one_long_one():
    one = Usage(prompt_tokens=2000, completion_tokens=100, calls=1)
    assert price('gpt-6-luna', sum([one] * 500)).usd == pytest.approx(500 * price('gpt-6-luna', one).usd)


def told(model, usage):
    "Dollars, and what was warned"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        return price(model, usage).usd, [str(warning.message) for warning in caught]


def test_a_sum_across_a_tier_says_that_it_cannot_know():
    "A long and a short request (300,000 and 2,000 tokens) hide in their mean: agency-swarm#742"
    long, short = (Usage(prompt_tokens=n, completion_tokens=1000, calls=1) for n in (300_000, 2000))
    apart = price('gemini-2.5-pro', long).usd + price('gemini-2.5-pro', short).usd
    assert apart == pytest.approx((300_000 * 2.5 + 1000 * 15 + 2000 * 1.25 + 1000 * 10) / 1e6)
    usd, said = told('gemini-2.5-pro', long + short)
    assert len(said) == 1 and 'requests above 200,000 prompt tokens have other prices' in said[0]
    low, high = (302_000 * 1.25 + 2000 * 10) / 1e6, (302_000 * 2.5 + 2000 * 15) / 1e6
    assert low == pytest.approx(usd) and low < apart < high
    assert f'between {low:.4g} and {high:.4g} USD' in said[0]


def test_a_mean_in_the_upper_tier_is_as_unsure():
    "Three long requests and a short one: the mean is long, and the short one would be overcharged without a word"
    long, short = (Usage(prompt_tokens=n, calls=1) for n in (400_000, 1000))
    usd, said = told('gemini-2.5-pro', sum([long] * 3 + [short]))
    assert usd == pytest.approx(1_201_000 * 2.5 / 1e6) and len(said) == 1


@pytest.mark.parametrize(
    'model, lengths',
    [
        ('gemini-2.5-pro', [2000, 90_000, 199_000]),  # all below the tier
        ('gemini-2.5-pro', [300_000] * 3),  # all above it, all alike
        ('gpt-4o', [300, 120_000]),  # no tiers
    ],
)
def test_no_warning_where_the_sum_is_exact(model, lengths):
    requests = [Usage(prompt_tokens=n, calls=1) for n in lengths]
    usd, said = told(model, sum(requests))
    assert not said and usd == pytest.approx(sum(price(model, request).usd for request in requests))


def test_list_price_is_not_the_long_context_tier():
    assert (list_price('gpt-6-luna').input, list_price('gpt-6-luna', prompt_tokens=272_001).input) == (
        0.1,
        0.2,
    )
    assert list_price('gpt-6-luna', prompt_tokens=272_000).input == 0.1


@pytest.mark.parametrize(
    'args, text',
    [
        (dict(model='deepseek-chat', processing='batch'), "no 'batch' price"),
        (dict(model='gpt-4o', processing='batch', when=date(2026, 9, 1)), 'known: standard'),
        (dict(model='gpt-4o', processing='Batch'), "no 'Batch' price"),
        (dict(model='gpt-4o', when=date(2024, 5, 20)), 'price data begin on'),
        (dict(model='gpt-4o', when=datetime(2026, 5, 20)), 'time zone'),
        (dict(model='deepseek-chat', provider='deepseek', when=date(2026, 3, 1)), 'depends on the hour'),
        (dict(model='gpt-4o', prompt_tokens=-1), 'must not be negative'),
        (dict(model='no-such-model'), 'no price for model'),
        (dict(model='gpt-4o', provider='no-such-provider'), 'no-such-provider'),
    ],
)
def test_what_the_data_cannot_know_is_refused(args, text):
    with pytest.raises(ValueError, match=text):
        list_price(**args)


def test_the_hour_decides_where_it_must():
    at = lambda hour: (
        list_price('deepseek-chat', 'deepseek', when=datetime(2026, 3, 1, hour, tzinfo=UTC)).input
    )
    assert at(17) < at(12)


def test_future_rows_wait_for_their_date():
    now, later = (
        list_price('gemini-3.8-flash', 'google', when=d) for d in (date(2026, 11, 22), date(2027, 1, 2))
    )
    assert now.known_since != later.known_since == date(2027, 1, 1)


def test_history_says_what_was_known_since_when():
    assert [(p.input, p.output, p.known_since) for p in price_history('o3')] == [
        (10, 40, None),
        (2, 8, date(2025, 6, 10)),
    ]
    assert [p.known_since for p in price_history('gpt-4o')] == [None]  # one price, undated: no trend in it
    with pytest.raises(ValueError, match='depends on the hour'):
        price_history('deepseek-chat', 'deepseek')


def test_every_price_shows_its_day():
    p = price('gpt-6-luna', Usage(prompt_tokens=1000, calls=1), when=date(2026, 11, 22))
    assert 'as of 2026-11-22' in str(p) and 'as of 2026-11-22' in str(p.list) and 'genai-prices' in str(p)
    assert 'since 2025-06-10' in str(list_price('o3', when=date(2025, 8, 1)))


def test_a_machine_of_ones_own_in_the_same_call():
    # $3.60 an hour is 0.1 cent a second; at half utilisation 1M tokens at 1,000/s cost 1,000 s x 0.1 cent x 2 = $2
    own = own_price('my-8b', 10_000, 1000, Estimate(3.6, 3, 4), 0.5, one_run=False)
    assert (own.input, own.output) == (pytest.approx(0.2), pytest.approx(2.0))
    assert price(
        own, Usage(prompt_tokens=10**6, cached_tokens=10**5, completion_tokens=10**6, calls=5)
    ).usd == pytest.approx(2.2)
    for bad in (dict(provider='openai'), dict(when=date(2026, 1, 1)), dict(processing='batch')):
        with pytest.raises(ValueError, match='price of your own'):
            price(own, Usage(calls=1), **bad)
    for bad in (dict(input_tokens_per_s=0), dict(output_tokens_per_s=-1), dict(utilisation=0), dict(one_run=None)):
        with pytest.raises(ValueError):
            own_price(
                **{
                    **dict(
                        model='x',
                        input_tokens_per_s=1,
                        output_tokens_per_s=1,
                        machine=TWO_CORES,
                        utilisation=1,
                        one_run=True,
                    ),
                    **bad,
                }
            )


@settings(deadline=None, max_examples=60)
@given(st.floats(1, 1e5), st.floats(1, 1e5), st.floats(0.1, 50), st.floats(0.05, 1))
def test_both_speeds_of_one_run_bill_the_rent_once(read, written, ratio, utilisation):
    "An hour's tokens of the run cost the hour, not twice the hour"
    own = own_price('x', read, written, 3.6, utilisation, one_run=True, output_to_input=ratio)
    hour = Usage(prompt_tokens=3600 * read, completion_tokens=3600 * written, calls=1)
    assert price(own, hour).usd == pytest.approx(3.6 / utilisation)
    assert own.output == pytest.approx(ratio * own.input)


def test_batch_halves_and_says_so():
    full, half = list_price('gpt-4o'), list_price('gpt-4o', processing='batch')
    assert (half.input, half.output) == (full.input / 2, full.output / 2) and half.processing == 'batch'
    assert (full.known_since, half.known_since) == (None, date(2026, 10, 14))
    assert 'since 2026-10-14' in str(half)


def test_usage_that_cannot_be_priced():
    with pytest.raises(ValueError, match='calls is 0'):
        price('gpt-4o', Usage(prompt_tokens=10))
    with pytest.raises(ValueError, match='part of the prompt'):
        price('gpt-4o', Usage(prompt_tokens=10, cached_tokens=11, calls=1))
    with pytest.raises(ValueError, match='part of the prompt'):
        price('gpt-4o', Usage(prompt_tokens=-10, calls=1))
    with pytest.raises(ValueError, match='must not be negative'):
        price('gpt-4o', Usage(prompt_tokens=10, completion_tokens=-1, calls=1))
    with pytest.raises(ValueError, match='calls is -1'):
        price('gpt-4o', Usage(prompt_tokens=10, calls=-1))


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(['gpt-6-luna', 'gpt-4o', 'claude-fable-5-2']),
    st.integers(1, 400_000),
    st.integers(0, 50_000),
    st.integers(1, 20),
    st.integers(1, 100_000),
)
def test_more_tokens_never_cost_less(model, prompt, out, calls, more):
    usd = lambda p, o: price(model, Usage(prompt_tokens=p, completion_tokens=o, calls=calls)).usd
    assert usd(prompt, out) <= usd(prompt + more, out) and usd(prompt, out) <= usd(prompt, out + more)


def test_a_prompt_that_is_all_in_the_cache():
    # gpt-4o: 1,000,000 cached tokens in 100 requests at $1.25 a million, 200,000 written at $10: $1.25 + $2
    p = price(
        'gpt-4o',
        Usage(prompt_tokens=10**6, cached_tokens=10**6, completion_tokens=200_000, calls=100),
        when=date(2026, 11, 22),
    )
    assert (p.input_usd, p.cached_usd, p.output_usd, p.usd) == pytest.approx((0, 1.25, 2.0, 3.25))


def test_writing_the_cache_is_paid():
    cold, warm = Usage(prompt_tokens=4000, calls=2), Usage(prompt_tokens=4000, cached_tokens=1, calls=2)
    p = price('claude-fable-5-2', warm)
    assert p.input_usd == pytest.approx(3999 * 10 / 1e6)
    assert price('claude-fable-5-2', cold).input_usd == pytest.approx(4000 * 8 / 1e6)


def test_counted_writes_are_billed_and_not_assumed():
    # claude-sonnet-5-5: 2 in, 2.5 written (4 for an hour), 0.1 cached, 10 out
    day = date(2026, 11, 22)
    first = Usage(prompt_tokens=1000, completion_tokens=10, calls=1, written_tokens=900)
    assert price('claude-sonnet-5-5', first, when=day).usd == pytest.approx((100 * 2 + 900 * 2.5 + 100) / 1e6)
    hour = price('claude-sonnet-5-5', first, when=day, cache_ttl='1h')
    assert hour.usd == pytest.approx((100 * 2 + 900 * 4 + 100) / 1e6)
    with pytest.raises(ValueError, match='part of the prompt'):
        price('claude-sonnet-5-5', Usage(100, 60, calls=1, written_tokens=60))


@pytest.mark.parametrize(
    'model, provider',
    [
        ('gpt-realtime-2', None),
        ('gpt-4o-audio-preview', None),
        ('gpt-image-1', None),
        ('gemini-2.5-flash-image', None),
        ('gemini-3.8-live', None),
        ('amazon.nova-2-sonic-v1:0', 'aws'),
        ('eleven_realtime_v1_max', 'elevenlabs'),
        ('grok-voice-latest', 'x-ai'),
        ('sonar-deep-research', 'perplexity'),
        ('whisper-1', None),
    ],
)
def test_what_is_not_billed_by_text_tokens_is_refused_by_name(model, provider):
    with pytest.raises(ValueError, match=model):
        price(model, Usage(1000, 0, 100, calls=1), provider)


def test_audio_is_not_priced_as_text():
    "1,000 tokens heard and 500 spoken: 32 and 64 a million, not 4 and 24"
    usage = Usage(1000, 0, 500, calls=1)
    audio, text = (price('gpt-realtime-2', usage, modality=modality) for modality in ('audio', 'text'))
    assert (audio.usd, text.usd) == pytest.approx((0.064, 0.016))
    assert 'audio tokens' in str(audio) and 'audio' not in str(text)
    with pytest.raises(ValueError, match="no 'video' price"):
        list_price('gpt-realtime-2', modality='video')


@pytest.mark.parametrize('model', ['gpt-realtime-2', 'gpt-realtime-mini'])
def test_a_realtime_response_costs_what_the_table_says(model):
    counts = {
        'input_tokens': 5000,
        'output_tokens': 900,
        'input_token_details': {
            'text_tokens': 1500,
            'audio_tokens': 3500,
            'cached_tokens': 3000,
            'cached_tokens_details': {'text_tokens': 1000, 'audio_tokens': 2000},
        },
        'output_token_details': {'text_tokens': 200, 'audio_tokens': 700},
    }
    response = {'response': {'usage': counts}}
    usages = read_usage(response, 'openai', 'realtime')
    mine = sum(price(model, usage, modality=kind).usd for kind, usage in usages.items())
    billed = extract_usage(response, provider_id='openai', api_flavor='realtime').usage
    assert mine == pytest.approx(float(calc_price(billed, model).total_price), rel=1e-9)


def test_a_fee_by_the_request():
    asked = price('sonar-pro', Usage(3000, 0, 100, calls=3), 'perplexity')
    assert asked.calls_usd == pytest.approx(3 * 0.014)
    assert asked.usd == pytest.approx(3000 * 3 / 1e6 + 100 * 15 / 1e6 + 3 * 0.014)


@pytest.mark.parametrize(
    'typed, seller, name',
    [
        ('openai/gpt-4o', 'openai', 'gpt-4o'),
        ('gpt-4o-2024-08-06', 'openai', 'gpt-4o'),
        ('anthropic/claude-sonnet-4.5', 'anthropic', 'claude-sonnet-4-5'),
        ('claude-sonnet-4-5-20250929', 'anthropic', 'claude-sonnet-4-5'),
        ('us.anthropic.claude-sonnet-4-5-20250929-v1:0', 'anthropic', 'claude-sonnet-4-5'),
        ('models/gemini-2.5-flash', 'google', 'gemini-2.5-flash'),
        ('gpt-oss:120b', 'openai', 'gpt-oss-120b'),
    ],
)
def test_what_people_type_is_found(typed, seller, name):
    provider, info = find_model(typed)
    assert (provider.id, info.id) == (seller, name)


@pytest.mark.parametrize(
    'typed', ['Qwen/Qwen3.5-9B', 'qwen3.5:9b', 'Qwen/Qwen3.5-9B-FP8', 'unsloth/Qwen3.5-9B-GGUF:Q4_K_M']
)
def test_an_open_model_lists_its_sellers(typed):
    with pytest.raises(ValueError, match='is sold by .*together'):
        list_price(typed)
    assert list_price(typed, 'together').model == 'Qwen/Qwen3.5-9B'
    offers = sellers(typed)
    assert {'together', 'ovhcloud'} <= {offer.provider for offer in offers}
    assert [offer.input + offer.output for offer in offers] == sorted(o.input + o.output for o in offers)


def test_a_distilled_model_is_not_its_teacher():
    with pytest.raises(ValueError, match='is sold by'):
        find_model('deepseek-r1-distill-llama-70b')


@pytest.mark.parametrize(
    'typed, near', [('claude-4.5-sonnet', 'claude-sonnet-4-5'), ('llama3.1', '405B'), ('gtp-4o', 'gpt-4o')]
)
def test_a_name_that_is_not_found_suggests_the_nearest(typed, near):
    with pytest.raises(ValueError, match=f'nearest: .*{near}'):
        find_model(typed)


def test_machine_time():
    assert machine_usd(3600).value == TWO_CORES.value
    assert machine_usd(3600, utilisation=0.25).high == pytest.approx(4 * TWO_CORES.high)
    assert machine_usd(1800, 2.5) == Estimate(1.25, 1.25, 1.25)
    assert own_price('x', 1000, 1000, 3.6, 0.5, one_run=False).input == pytest.approx(2.0)
    for bad in (
        dict(seconds=-1),
        dict(seconds=float('nan')),
        dict(seconds=1, utilisation=0),
        dict(seconds=1, utilisation=1.2),
        dict(seconds=1, machine=-2.5),
        dict(seconds=1, machine=Estimate(1, -1, 2)),
        dict(seconds=1, machine=Estimate(1, 2, 3)),
        dict(seconds=1, machine=float('nan')),
    ):
        with pytest.raises(ValueError):
            machine_usd(**bad)


def test_assumptions_have_a_source_a_date_and_a_range():
    for a in (TWO_CORES, ASSISTED_CONTACT):
        assert isinstance(a, Estimate) and a.n is None
        assert a.source and a.date and a.low < a.value < a.high
    with pytest.raises(ValueError, match='does not lie between'):
        Assumption(5, 6, 7, 'USD', 'nobody', '2026')


def test_cost_per_resolution_by_hand():
    r = cost_per_resolution(0.02, 150, 200, human=10.0)
    assert r.usd.value == pytest.approx(0.02 / 0.75)
    assert r.usd_per_contact.value == pytest.approx(0.02 + 0.25 * 10)
    assert r.usd.low == pytest.approx(0.02 / r.rate.high)
    assert r.usd_per_contact.high == pytest.approx(0.02 + (1 - r.rate.low) * 10)


def test_the_range_of_a_person_survives():
    person = Estimate(10.0, 6.0, 15.0)
    r = cost_per_resolution(Estimate(0.02, 0.01, 0.05), 150, 200, human=person)
    assert r.human_usd == person
    assert r.usd_per_contact.low == pytest.approx(0.01 + (1 - r.rate.high) * 6)
    assert r.usd_per_contact.high == pytest.approx(0.05 + (1 - r.rate.low) * 15)
    assert cost_per_resolution(0.02, 150, 200).human_usd is ASSISTED_CONTACT


def test_a_cost_is_not_negative():
    for bad in (
        dict(usd_per_case=-0.1),
        dict(usd_per_case=Estimate(0.1, -0.1, 0.2)),
        dict(usd_per_case=0.1, human=-5),
        dict(usd_per_case=0.1, human=Estimate(5, -1, 6)),
    ):
        with pytest.raises(ValueError, match='must not be negative'):
            cost_per_resolution(k=1, n=2, **bad)


@pytest.mark.parametrize('k', [0, 1, 199, 200])
def test_edges_keep_order(k):
    r = cost_per_resolution(Estimate(0.02, 0.01, 0.03), k, 200)
    for x in (r.rate, r.usd, r.usd_per_contact):
        assert x.low <= x.value <= x.high
    assert (r.usd.high == float('inf')) == (k == 0)


def test_more_cases_narrow_the_interval():
    width = lambda n: (lambda u: u.high - u.low)(cost_per_resolution(0.02, int(0.8 * n), n).usd)
    assert width(2000) < width(200) / 2.5


def test_no_torch():
    code = "import rlops_lab.tokenomics.prices, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0
