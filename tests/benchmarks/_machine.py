"The processor's name, for benchmarks that do without torch."

import platform
from pathlib import Path


def processor():
    "As the system calls it"
    info = Path('/proc/cpuinfo')
    lines = info.read_text().splitlines() if info.exists() else []
    return next(
        (line.partition(':')[2].strip() for line in lines if line.startswith('model name')),
        platform.processor(),
    )
