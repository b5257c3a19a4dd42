"""What JupyterLab would typeset as mathematics, without a browser.

MathJax takes the text between two dollar signs of one text node, wherever there is no <pre>, <code> or the like
around it; a line break doesn't end the node. `test_formulas` says what must not happen to dollar amounts, and
`widgets/test_browser_formulas.py` shows a real browser what this file believes."""

import re
from html.parser import HTMLParser

SKIPPED = {'pre', 'code', 'script', 'style', 'textarea', 'title'}
OPENS = re.compile(r'(?<!\\)\$|\\[(\[]|\\begin\b')
PAIR = re.compile(r'(?<![\\$])\$(?!\$)(.+?)(?<![\\$])\$(?!\$)', re.S)


class _Nodes(HTMLParser):
    def __init__(self):
        super().__init__()
        self.nodes, self.skipping = [''], 0

    def handle_starttag(self, tag, attributes):
        if tag in SKIPPED:
            self.skipping += 1
        if tag not in ('br', 'wbr'):
            self.nodes.append('')

    def handle_endtag(self, tag):
        if tag in SKIPPED:
            self.skipping -= 1
        self.nodes.append('')

    def handle_data(self, text):
        if not self.skipping:
            self.nodes[-1] += text


def text_nodes(html):
    "Texts that MathJax looks at, each by itself"
    parser = _Nodes()
    parser.feed(html)
    parser.close()
    return [node for node in parser.nodes if node]


def typeset(html):
    "Text nodes of HTML in which something would become a formula"
    def is_eaten(node):
        return len(re.findall(r'(?<!\\)\$', node)) > 1 or bool(re.search(r'\\[(\[]|\\begin\b', node))

    return [node for node in text_nodes(html) if is_eaten(node)]


def without_code(markdown):
    return re.sub(r'```.*?```|`[^`\n]*(?:\n[^`\n]+)*`', '', markdown, flags=re.S)


def prose_as_formula(markdown):
    "Pairs of dollar signs in Markdown that hold prose: a formula has no space at its ends, and no digit behind it"
    text = re.sub(r'(?<!\\)\$\$.*?\$\$', '', without_code(markdown), flags=re.S)
    found = []
    for paragraph in re.split(r'\n\s*\n', text):
        for pair in PAIR.finditer(paragraph):
            content, after = pair[1], paragraph[pair.end() :][:1]
            if content[0].isspace() or content[-1].isspace() or after.isdigit():
                found.append(pair[0])
    return found
