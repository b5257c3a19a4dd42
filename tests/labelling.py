"A labeler of eight replies, for tests."

from rlops_lab.judges.rubrics import Criterion, Rubric
from rlops_lab.widgets.annotate import Labeler


TEXTS = [f'reply {i}' for i in range(8)]


LEVELS = Rubric(
    'levels',
    'You check a reply.',
    0.6,
    (
        Criterion('right', 'Is it right?', ('no', 'partly', 'yes'), abstain='no question'),
        Criterion('polite', 'Is it polite?', ('no', 'yes')),
    ),
    sees=('text',),
)


def labeler(path, annotator='ada', items=TEXTS, **how):
    return Labeler(
        items, annotator=annotator, path=path, **dict(order=range(len(items)), design='random') | how
    )
