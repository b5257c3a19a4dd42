"""The benchmarks' figures: one JSON-lines file each in `results/`, and the table of RESULTS.md that is made from them.

    python tests/benchmarks/_results.py                      write the table anew
    python tests/benchmarks/_results.py add NAME OUTPUT TEXT append the last line of a run's output, then the same

A row has `date`, `commit`, `machine`, `figures` and `holds` (true, false, or null where there is no goal or too few
runs). TEXT says in a line what the table shows: the last row that has one, as `figure`, stands there."""

import datetime
import json
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / 'RESULTS.md'
BEGIN, END = '<!-- table -->', '<!-- /table -->'
HOLDS = {True: 'yes', False: '**no**', None: '—'}


def goals():
    "{benchmark: its goal}, in the order of results/goals.toml"
    return {
        name: entry['goal']
        for name, entry in tomllib.loads((HERE / 'results' / 'goals.toml').read_text()).items()
    }


def rows(name):
    "The history of a benchmark, oldest first"
    return [json.loads(line) for line in (HERE / 'results' / f'{name}.jsonl').read_text().splitlines()]


def table():
    "The table as Markdown"
    lines = ['| benchmark | goal | holds | last figure | date | machine |', '|---|---|---|---|---|---|']
    for name, goal in goals().items():
        last = [row for row in rows(name) if row.get('figure')][-1]
        cells = (f'`{name}`', goal, HOLDS[last['holds']], last['figure'], last['date'], last['machine'])
        lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines)


def rendered(text):
    "RESULTS.md with its table made anew"
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    return f'{before}{BEGIN}\n{table()}\n{END}{after}'


def add(name, output, figure):
    "Append the JSON that a benchmark printed last, with a line for the table"
    printed = json.loads(Path(output).read_text().strip().splitlines()[-1])
    printed |= dict(date=datetime.date.today().isoformat(), figure=figure)
    with open(HERE / 'results' / f'{name}.jsonl', 'a') as file:
        file.write(json.dumps(printed, ensure_ascii=False) + '\n')


def main(arguments):
    if arguments[:1] == ['add']:
        add(*arguments[1:])
    RESULTS.write_text(rendered(RESULTS.read_text()))


if __name__ == '__main__':
    main(sys.argv[1:])
