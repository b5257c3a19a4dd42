"Rows of an update"

from policies import trainer


def test_data_order_is_a_permutation_of_each_pass():
    t = trainer(rows=[dict(i=i) for i in range(5)], episodes_per_update=4)
    seen = [r['i'] for u in range(5) for r in t.batch_rows(u)]
    assert all(sorted(seen[5 * e : 5 * e + 5]) == list(range(5)) for e in range(4)) and seen[:5] != seen[5:10]
