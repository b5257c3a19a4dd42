"The package's metadata, read from `settings.ini`."
from configparser import ConfigParser
from pathlib import Path
from setuptools import find_packages, setup

root = Path(__file__).resolve().parent
settings = ConfigParser(delimiters='=')
settings.read(root/'settings.ini', encoding='utf-8')
cfg = settings['DEFAULT']
readme = root/'README.md'
lib, statuses = cfg['lib_name'], ['Planning', 'Pre-Alpha', 'Alpha', 'Beta', 'Production/Stable', 'Mature', 'Inactive']
status = int(cfg['status'])

extras = {k.removesuffix('_requirements'): v.split() for k,v in cfg.items() if k.endswith('_requirements')}

setup(name=lib, version=cfg['version'], description=cfg['description'], keywords=cfg['keywords'], author=cfg['author'],
    url=cfg['git_url'], license_expression={'apache2': 'Apache-2.0'}[cfg['license']],
    long_description=readme.read_text(encoding='utf-8') if readme.exists() else '', long_description_content_type='text/markdown',
    classifiers=[f'Development Status :: {status} - {statuses[status-1]}', f"Intended Audience :: {cfg['audience']}",
        f"Natural Language :: {cfg['language']}", 'Programming Language :: Python :: 3.11', 'Programming Language :: Python :: 3.12'],
    packages=find_packages(include=[lib, f'{lib}.*']), package_data={lib: cfg['package_data'].split()},
    python_requires=f">={cfg['min_python']}", install_requires=cfg['requirements'].split(), extras_require=extras,
    entry_points=dict(console_scripts=cfg['console_scripts'].split(), nbdev=[f"{lib}={cfg['lib_path']}._modidx:d"]))
