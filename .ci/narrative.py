"""Can the code be read? Lines, tokens, definitions, types and examples of each notebook and test.

`python .ci/narrative.py [path ...]` lists the faults of these notebooks and tests, of all of them when none is given.
`python .ci/narrative.py --table` prints the figures, notebook by notebook.
`python .ci/narrative.py --update` lowers the baseline to what is left.
Each fault is one line: file, cause, cure."""

import ast
import io
import json
import re
import sys
import tokenize
from collections import Counter
from pathlib import Path
from statistics import median

ROOT = Path.cwd()
BASELINE = Path('.ci/narrative_baseline.json')
WIDTH = 120  # characters of a line of code
CELL_MEDIAN = 120  # tokens of the middle exported cell of a notebook
CELL_MOST = 400  # tokens of any exported cell
LINE_TOKENS = 9.5  # tokens a line of a notebook's exported code
DEFINITIONS = 3  # top-level functions and classes of an exported cell
UNTOLD = 2  # exported cells in a row without prose

EXPORT = re.compile(r'^#\|\s*exporti?s?\b', re.M)
SILENT = {
    tokenize.NEWLINE,
    tokenize.NL,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.COMMENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


def tokens(source):
    "Tokens of Python code; comments, indentation and line ends don't count"
    read = tokenize.generate_tokens(io.StringIO(source).readline)
    return sum(token.type not in SILENT for token in read)


def lines(source):
    "Lines with code on them"
    return sum(bool(line.strip()) and not line.strip().startswith('#') for line in source.splitlines())


def plain(source):
    "The code of a cell as Python: directives go, magics become comments"
    kept = [line for line in source.splitlines() if not line.startswith('#|')]
    return '\n'.join(re.sub(r'^(\s*)([%!].*)$', r'\1pass  # \2', line) for line in kept)


class Cell:
    "One cell of a notebook"

    def __init__(self, cell):
        self.id = cell.get('id', '?')
        self.source = ''.join(cell['source'])
        self.is_code = cell['cell_type'] == 'code'
        self.is_exported = self.is_code and bool(EXPORT.search(self.source))
        self.code = plain(self.source) if self.is_code else ''

    def tree(self):
        try:
            return ast.parse(self.code)
        except SyntaxError:
            return ast.parse('')  # a cell magic: nothing to read here

    def only_imports(self):
        body = self.tree().body
        return bool(body) and all(isinstance(node, ast.Import | ast.ImportFrom) for node in body)


def read(path):
    return [Cell(cell) for cell in json.loads(path.read_text(encoding='utf-8'))['cells']]


# ---- faults: (rule, where, cause and cure)


def wide_lines(source, where):
    for number, line in enumerate(source.splitlines(), 1):
        if len(line) > WIDTH:
            yield (
                'line',
                f'{where} line {number}',
                f'{len(line)} characters: at most {WIDTH}; one idea a line',
            )


def joined_statements(source, where):
    found = list(tokenize.generate_tokens(io.StringIO(source).readline))
    for token, after in zip(found, found[1:]):
        if token.string == ';' and after.type not in SILENT:
            yield 'semicolon', f'{where} line {token.start[0]}', 'two statements on a line: give each its own'


def crowded_comprehensions(tree, where):
    kinds = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
    for node in ast.walk(tree):
        if isinstance(node, kinds) and len(node.generators) > 1 and any(g.ifs for g in node.generators):
            yield (
                'comprehension',
                f'{where} line {node.lineno}',
                'two `for`s and a condition in one comprehension: write the loop',
            )


def untyped_parameters(tree, where):
    for name, function in public_functions(tree):
        a = function.args
        every = [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg))]
        missing = [arg.arg for arg in every if arg.annotation is None and arg.arg not in ('self', 'cls')]
        if missing:
            yield 'type', f'{where} {name}', f"no type for {', '.join(missing)}: name it"


def public_functions(tree):
    "(name, definition) of what users call: functions, constructors, methods"
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith('_'):
            for method in node.body:
                if is_function(method) and (not method.name.startswith('_') or method.name == '__init__'):
                    yield f'{node.name}.{method.name}', method
        if is_function(node) and not node.name.startswith('_'):
            yield node.name, node


def is_function(node):
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def is_patch(node):
    return any('patch' in ast.unparse(decorator) for decorator in getattr(node, 'decorator_list', []))


def public_names(cells):
    "{name: cell id} of functions and classes that a notebook exports"
    found = {}
    for cell in cells:
        if not cell.is_exported or re.search(r'^#\|\s*exporti\b', cell.source, re.M):
            continue
        for node in cell.tree().body:
            if (
                (is_function(node) or isinstance(node, ast.ClassDef))
                and not is_patch(node)
                and not node.name.startswith('_')
            ):
                found[node.name] = cell.id
    return found


def unshown_names(cells):
    examples = '\n'.join(cell.code for cell in cells if cell.is_code and not cell.is_exported)
    words = set(re.findall(r'\w+', examples))
    for name, cell_id in public_names(cells).items():
        if name not in words:
            yield (
                'example',
                f'cell {cell_id} {name}',
                'is public and in no example: show it, or make it private',
            )


def untold_cells(cells):
    row = 0
    for cell in cells:
        if not cell.is_code:
            row = 0
        elif cell.is_exported and not cell.only_imports():
            row += 1
        if cell.is_exported and row == UNTOLD + 1:
            yield (
                'prose',
                f'cell {cell.id}',
                f'{row} exported cells in a row without prose: say why each is there',
            )


def cell_sizes(cells):
    "Tokens and lines of each exported cell that defines something"
    kept = [cell.code for cell in cells if cell.is_exported and not cell.only_imports()]
    return [(tokens(code), lines(code)) for code in kept if code.strip()]


def sizes(cells):
    "Faults of size"
    for cell in cells:
        if not cell.is_exported:
            continue
        count = tokens(cell.code)
        if count > CELL_MOST:
            yield 'cell', f'cell {cell.id}', f'{count} tokens: at most {CELL_MOST}; split it'
        definitions = sum(is_function(node) or isinstance(node, ast.ClassDef) for node in cell.tree().body)
        if definitions > DEFINITIONS:
            yield (
                'definitions',
                f'cell {cell.id}',
                f'{definitions} definitions: at most {DEFINITIONS}; split it',
            )
    found = cell_sizes(cells)
    if not found:
        return
    if (middle := median(count for count, _ in found)) > CELL_MEDIAN:
        yield (
            'median',
            'exported cells',
            f'{middle:.0f} tokens in the middle: at most {CELL_MEDIAN}; split the largest',
        )
    if (density := sum(t for t, _ in found) / sum(n for _, n in found)) > LINE_TOKENS:
        yield (
            'density',
            'exported cells',
            f'{density:.1f} tokens a line: at most {LINE_TOKENS}; one idea a line',
        )


def notebook_faults(path):
    cells = read(path)
    for cell in cells:
        if not cell.is_code:
            continue
        where = f'cell {cell.id}'
        yield from wide_lines(cell.source, where)
        if cell.source.startswith('%%'):
            continue
        yield from joined_statements(cell.code, where)
        yield from crowded_comprehensions(cell.tree(), where)
        if cell.is_exported:
            yield from untyped_parameters(cell.tree(), where)
    yield from sizes(cells)
    if any(cell.is_exported for cell in cells):
        yield from unshown_names(cells)
        yield from untold_cells(cells)


def script_faults(path):
    source = path.read_text(encoding='utf-8')
    yield from wide_lines(source, 'file')
    yield from joined_statements(source, 'file')
    yield from crowded_comprehensions(ast.parse(source), 'file')


def faults(path):
    "(rule, where, what) of a notebook or a script"
    return notebook_faults(path) if path.suffix == '.ipynb' else script_faults(path)


def sources(root=ROOT):
    "Notebooks, tests and the project's own tools"
    notebooks = [
        p
        for p in (root / 'nbs').rglob('*.ipynb')
        if not any(part[0] in '._' for part in p.relative_to(root / 'nbs').parts)
    ]
    return sorted(notebooks) + sorted((root / 'tests').rglob('*.py')) + sorted((root / '.ci').glob('*.py'))


def check(root=ROOT):
    "Faults beyond the baseline, and a baseline that has become too large"
    allowed = json.loads((root / BASELINE).read_text(encoding='utf-8')) if (root / BASELINE).exists() else {}
    for path in sources(root):
        name = path.relative_to(root).as_posix()
        found = list(faults(path))
        counts = Counter(rule for rule, _, _ in found)
        for rule, most in allowed.pop(name, {}).items():
            if counts[rule] < most:
                yield (
                    f'{name}: the baseline allows {most} of {rule}, there are {counts[rule]}. '
                    'Run `python .ci/narrative.py --update`'
                )
            if counts[rule] <= most:
                del counts[rule]
        for rule, where, what in found:
            if rule in counts:
                yield f'{name}: {where}: {what}'
    for name in allowed:
        yield f'{BASELINE}: {name} is gone. Run `python .ci/narrative.py --update`'


def table(root=ROOT):
    "Print what the code measures, notebook by notebook"
    every = []
    print('tokens/line  lines  cells  median  largest')
    for path in sources(root):
        found = cell_sizes(read(path)) if path.suffix == '.ipynb' else []
        if not found:
            continue
        every += found
        print(row(found), path.relative_to(root).as_posix())
    print(row(every), 'all')
    print(f'median lines of an exported cell: {median(n for _, n in every):.0f}')
    long = [
        p
        for p in (root / 'rlops_lab').rglob('*.py')
        if p.name != '_modidx.py' and len(p.read_text(encoding='utf-8').splitlines()) > 350
    ]
    print(f'modules over 350 lines: {len(long)}', *sorted(p.relative_to(root).as_posix() for p in long))


def row(found):
    counts, heights = zip(*found)
    density = sum(counts) / sum(heights)
    return f'{density:11.2f}  {sum(heights):5}  {len(found):5}  {median(counts):6.0f}  {max(counts):7}'


def update(root=ROOT):
    "Lower the baseline to what is left; it never grows"
    before = json.loads((root / BASELINE).read_text(encoding='utf-8')) if (root / BASELINE).exists() else None
    now = {}
    for path in sources(root):
        name = path.relative_to(root).as_posix()
        counts = dict(Counter(rule for rule, _, _ in faults(path)))
        if before is not None:
            counts = {rule: min(n, before.get(name, {}).get(rule, 0)) for rule, n in counts.items()}
        if counts := {rule: n for rule, n in sorted(counts.items()) if n}:
            now[name] = counts
    (root / BASELINE).write_text(json.dumps(now, indent=1) + '\n', encoding='utf-8')


def main(arguments):
    if arguments == ['--table']:
        return table()
    if arguments == ['--update']:
        return update()
    paths = [Path(a) for a in arguments] or sources()
    found = [f'{path}: {where}: {what}' for path in paths for _, where, what in faults(path)]
    print('\n'.join(found) or 'ok')
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
