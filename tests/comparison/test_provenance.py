"""What figures depend on besides their settings."""

import json
import platform
import re
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch

from outsample.comparison import provenance
from outsample.comparison.provenance import (
    blas,
    code_digest,
    environment,
    package_version,
    processor,
)


def test_the_environment_is_what_the_packages_say() -> None:
    found = environment()
    assert found["outsample"] == version("outsample")
    assert found["torch"] == torch.__version__
    assert found["numpy"] == np.__version__
    assert found["python"] == platform.python_version()
    assert found["machine"].startswith(platform.system())
    assert found["BLAS"] in torch.__config__.show()
    assert found["code"] == code_digest()
    assert json.loads(json.dumps(found)) == found


def test_threads_are_those_of_the_moment() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert environment()["threads"] == 2
        torch.set_num_threads(1)
        assert environment()["threads"] == 1
    finally:
        torch.set_num_threads(before)


def test_callers_may_change_their_copy() -> None:
    environment()["torch"] = "changed"
    assert environment()["torch"] == torch.__version__


class TestCode:
    @pytest.fixture
    def package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A package of two modules, in place of outsample."""
        folder = tmp_path / "package" / "comparison"
        folder.mkdir(parents=True)
        (folder / "provenance.py").write_text("a = 1\n")
        (tmp_path / "package" / "other.py").write_text("b = 2\n")
        monkeypatch.setattr(provenance, "__file__", str(folder / "provenance.py"))
        return tmp_path / "package"

    def digest(self) -> str:
        return code_digest.__wrapped__()  # without what was kept from before

    @pytest.mark.usefixtures("package")
    def test_is_twelve_digits_and_stays(self) -> None:
        assert re.fullmatch("[0-9a-f]{12}", self.digest())
        assert self.digest() == self.digest()

    def test_changes_with_a_line_a_name_or_a_file(self, package: Path) -> None:
        seen = {self.digest()}
        (package / "other.py").write_text("b = 3\n")
        seen.add(self.digest())
        (package / "other.py").rename(package / "renamed.py")
        seen.add(self.digest())
        (package / "comparison" / "new.py").touch()
        seen.add(self.digest())
        assert len(seen) == 4

    def test_does_not_change_with_what_is_no_code(self, package: Path) -> None:
        before = self.digest()
        (package / "notes.txt").write_text("x")
        (package / "__pycache__").mkdir()
        (package / "__pycache__" / "other.pyc").write_bytes(b"x")
        assert self.digest() == before


def test_packages_that_are_not_installed_have_no_version() -> None:
    assert package_version("torch") == version("torch")
    assert package_version("no-such-package-at-all") is None


def test_names_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr(platform, "processor", lambda: "")
    assert processor.__wrapped__() == "unknown"
    monkeypatch.setattr(torch.__config__, "show", lambda: "nothing of interest")
    assert blas() == "unknown"
