"The reader of claims: details, and texts of any kind"

import random

from rlops_lab.environments.support_desk.claims import Claim, claims


def test_reader_details():
    assert Claim('refund', 3550) in claims("I have refunded $35.50.")
    assert Claim('refund', 3550) in claims("Your refund of 35.50 dollars is complete.")
    assert [c.kind for c in claims("Is there anything else I can help you with?")] == ['question']
    assert not any(c.kind == 'shipped' for c in claims("Your refund of $20 is on its way."))
    assert Claim('refused', 'cancel') in claims("We can’t cancel it.")
    assert claims("") == [] and claims("???") != [Claim('ask')]


def test_reader_survives_anything():
    r = random.Random(0)
    words = (
        "order 4821 not refunded $5. can't , zip ? shipped 3 days ago\n — it 12 elm street, : "
        "% {0} ' \\ \x00 ü"
    ).split(' ')
    for _ in range(300):
        claims(' '.join(r.choices(words, k=r.randint(0, 25))))
