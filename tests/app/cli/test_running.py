"""`clade serve` that cannot start, and `clade warm`."""

import contextlib
import socket
from pathlib import Path

from app.hub import open_hub
from app.serve import first_token
from app.settings import Settings
from tests.fixtures.command import Clade, principal_of


def test_kernels_are_compiled_ahead_and_kept(clade: Clade) -> None:
    facts = clade("warm", "--json").facts

    assert facts["kernels"] > 10
    assert Path(facts["directory"]).is_dir()


def test_port_in_use_is_one_line_and_makes_no_hub(clade: Clade, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        complaint = clade("serve", "--port", port, "--data", tmp_path / "hub").complaint

    assert f"127.0.0.1:{port}" in complaint
    assert not (tmp_path / "hub").exists()


def test_directory_that_cannot_be_made_is_one_line(clade: Clade, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert (
        str(tmp_path / "file") in clade("serve", "--port", 0, "--data", tmp_path / "file").complaint
    )


def test_first_token_survives_a_start_that_was_cut_short(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hf_told\n")  # killed before the user was made

    with contextlib.closing(open_hub(Settings(data=tmp_path))) as hub:
        assert first_token(hub) == first_token(hub) == "hf_told"

    assert principal_of(tmp_path, "hf_told").name == "clade"
