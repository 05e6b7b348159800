"""Nothing of Clade needs vLLM to be imported."""

import subprocess
import sys
from importlib.metadata import entry_points
from importlib.util import find_spec

import pytest

import serving.vllm


def test_importing_us_imports_no_vllm() -> None:
    script = (
        "import sys; sys.modules['vllm'] = None\n"
        "import serving.vllm, serving.vllm.plugin\n"
        "print('torch' in sys.modules)"
    )

    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert out.stdout.strip() == "False"


def test_names_that_vllm_is_told_of_exist() -> None:
    (plugin,) = entry_points(group="vllm.general_plugins", name="clade")

    assert callable(plugin.load())
    assert callable(serving.vllm.SloMiddleware)
    with pytest.raises(AttributeError, match="Scheduler2"):
        _ = serving.vllm.Scheduler2
    if find_spec("vllm") is None:
        with pytest.raises(ModuleNotFoundError, match="vllm"):
            _ = serving.vllm.ScorpioScheduler
