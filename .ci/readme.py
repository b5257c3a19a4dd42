"""README.md from nbs/index.ipynb: its prose, code and stored outputs.

Nothing is run, so the same notebook always gives the same bytes. `python .ci/readme.py` writes README.md, and the
pictures among the outputs to nbs/images/index_*.png (GitHub shows no inline images)."""

import base64
import os
import re
from pathlib import Path

from execnb.nbio import read_nb
from nbdev.process import extract_directives

picture_name = 'index_{}.png'
fence = re.compile(r'^\s*(```|~~~)')
link = re.compile(r'(\]\(|(?:src|href)=")([^)"\s]+)')


def relink(target, root):
    "A link of nbs/index.ipynb as README.md has to write it; links to the web and within the page stay"
    if re.match(r'[a-z]+:|#', target):
        return target
    path, mark, anchor = target.partition('#')
    here = os.path.normpath(Path('nbs') / path)
    if not (root / here).exists():
        raise SystemExit(
            f'nbs/index.ipynb: links to {path}, which does not exist. Mend the link; it is relative to nbs/'
        )
    return Path(here).as_posix() + mark + anchor


def prose(text, root):
    "Markdown with its links made relative to the root, code blocks left as they are"
    lines, in_code = [], False
    for line in text.splitlines():
        if fence.match(line):
            in_code = not in_code
        lines.append(line if in_code else link.sub(lambda m: m[1] + relink(m[2], root), line))
    return '\n'.join(lines)


def joined(text):
    return text if isinstance(text, str) else ''.join(text)


def shown(output, name, pictures):
    "One stored output as Markdown; a picture is added to `pictures` under `name`"
    if output['output_type'] == 'stream':
        return '' if output['name'] == 'stderr' else block(joined(output['text']))
    if output['output_type'] == 'error':
        raise SystemExit('nbs/index.ipynb: a stored output is an error. Run the notebook again and save it')
    data = output['data']
    if 'text/markdown' in data:
        return joined(data['text/markdown']).strip()
    if 'image/png' in data:
        pictures[f'nbs/images/{name}'] = base64.b64decode(joined(data['image/png']))
        return f'![](nbs/images/{name})'
    if 'text/html' in data:
        return re.sub(r'\n\s*\n', '\n', joined(data['text/html'])).strip()  # a blank line would end the block
    return block(joined(data['text/plain']))


def block(text, language=''):
    return f'```{language}\n{text.rstrip()}\n```' if text.strip() else ''


def render(root):
    "The files made from nbs/index.ipynb: `{path: bytes}`, README.md and its pictures"
    parts, pictures = [], {}
    for cell in read_nb(root / 'nbs' / 'index.ipynb').cells:
        if cell.cell_type == 'markdown':
            parts.append(prose(cell.source, root))
        if cell.cell_type != 'code':
            continue
        directives = extract_directives(cell, remove=False)
        if 'hide' in directives:
            continue
        code = '\n'.join(line for line in cell.source.splitlines() if not line.startswith('#|'))
        if directives.get('echo:') != ['false']:
            parts.append(block(code, 'python'))
        if directives.get('output:') == ['false']:
            continue
        parts += [
            shown(o, picture_name.format(f'{cell.id}_{i}'), pictures)
            for i, o in enumerate(cell.get('outputs', []))
        ]
    text = '\n\n'.join(p.strip('\n') for p in parts if p.strip()) + '\n'
    return {'README.md': text.encode(), **pictures}


def left_over(root, made):
    "Pictures of an earlier README that this one no longer has"
    return [
        p
        for p in sorted((root / 'nbs' / 'images').glob(picture_name.format('*')))
        if p.relative_to(root).as_posix() not in made
    ]


if __name__ == '__main__':
    root = Path.cwd()
    made = render(root)
    for path in left_over(root, made):
        path.unlink()
    for path, content in made.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    print('\n'.join(made))
