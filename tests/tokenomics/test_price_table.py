"The adapter to the price data: rows, moments, modes, and kinds of tokens"

from datetime import UTC, date, datetime

import pytest
from genai_prices.data_snapshot import get_snapshot

from rlops_lab.tokenomics.price_table import (
    find_model,
    history_starts,
    known_since,
    mode_key,
    price_moment,
    price_rows,
    sold_as,
    start_dates,
    token_rates,
)

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def rates(model, provider=None, **how):
    _, info = find_model(model, provider)
    return token_rates(info, info.get_prices(NOON), how.pop('tokens', 0), **how)


def test_dated_rows():
    o3, gpt_4o = find_model('o3')[1], find_model('gpt-4o')[1]
    assert start_dates(price_rows(o3)) == [date(2025, 6, 10)] and price_rows(gpt_4o) == []
    assert history_starts() < date(2025, 6, 10)
    assert known_since(o3, NOON, None) == date(2025, 6, 10) and known_since(gpt_4o, NOON, None) is None
    batch = mode_key(gpt_4o, 'batch', NOON)
    assert batch == {'processing': 'batch'} and known_since(gpt_4o, NOON, batch) == date(2026, 10, 14)
    assert mode_key(gpt_4o, 'standard', NOON) is None
    assert price_moment(o3, date(2026, 1, 2)) == datetime(2026, 1, 2, 12, tzinfo=UTC)


def test_one_seller_or_all():
    everywhere = sold_as('Qwen/Qwen3.5-9B')
    assert len({seller.id for seller, _ in everywhere}) > 3
    assert [(seller.id, info.id) for seller, info in sold_as('qwen3.5:9b', 'together')] == [
        ('together', 'Qwen/Qwen3.5-9B')
    ]
    assert sold_as('no-such-model') == []


def test_the_tier_of_one_request():
    short, long = rates('gemini-2.5-pro', tokens=200_000), rates('gemini-2.5-pro', tokens=200_001)
    assert (short.input, short.output, long.input, long.output) == (1.25, 10, 2.5, 15)
    assert short.tiers == long.tiers == (200_000,)


@pytest.mark.parametrize('seller', ['openai', 'google', 'anthropic', 'aws', 'together', 'mistral', 'groq'])
def test_every_row_is_read_or_refused_by_name(seller):
    "No model of these sellers raises anything but a ValueError that names it"
    read = 0
    provider = next(provider for provider in get_snapshot().providers if provider.id == seller)
    for info in provider.models:
        try:
            found = token_rates(info, info.get_prices(NOON), 1000)
        except ValueError as refused:
            assert info.id in str(refused)
            continue
        assert found.input >= 0 and found.output >= 0 and found.per_call >= 0
        read += 1
    assert read > 4
