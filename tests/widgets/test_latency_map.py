"The map's frontier is that of `latency`, and a looser promise serves no fewer users."

import re

from rlops_lab.tokenomics.latency import latency
from rlops_lab.tokenomics.roofline import GPUS
from rlops_lab.widgets.latency_map import USERS, latency_html, machine_row


def test_the_frontier_agrees_with_latency():
    text = latency_html(300, 20, 1500, 150, 'llama-3.1-8b', 16, 1)
    for machine in ('H100', 'L40S', 'A100-80GB'):
        kept = [
            u
            for u in USERS
            if (x := latency('llama-3.1-8b', machine, 1500, 150, u)).ttft.value <= 0.3
            and x.tpot.value <= 0.02
        ]
        row = text[text.index(f'>{machine}</div>') :]
        assert (
            row[row.index('padding-left') :][:60]
            .split('>')[1]
            .startswith(f'{max(kept)} users' if kept else 'not in time')
        )


def test_a_looser_promise_serves_no_fewer():
    def users(ttft, tpot):
        text = latency_html(ttft, tpot, 1000, 200, 'qwen3-8b', 8, 1)
        rows = {machine: text[text.index(f'>{machine}</div>') :] for machine in GPUS}
        found = {machine: re.search(r'(\d+) users, |not in time|does not fit', row) for machine, row in rows.items()}
        return {machine: int(hit[1] or 0) for machine, hit in found.items()}

    strict, first, both = users(200, 15), users(400, 15), users(400, 60)
    assert all(strict[machine] <= first[machine] <= both[machine] for machine in GPUS)
    assert strict['H100'] > 0
    assert machine_row.cache_info().hits > 0
