"""What importing the package costs."""

import subprocess
import sys


def test_importing_codec_loads_no_compiler():
    program = "import sys, codec; print(*sorted({'numba', 'llvmlite', 'torch'} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == ""
