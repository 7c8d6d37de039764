"""`make setup`: what uv doesn't do. A whole set-up takes a minute and is what CI begins with; here are its parts."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import CHECKOUT


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout of nothing but the files that a set-up reads."""
    root = tmp_path / "it's a checkout"
    (root / "scripts").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "dagster.yaml", "scripts/bootstrap.py"):
        shutil.copy(CHECKOUT / name, root / name)
    for file in CHECKOUT.glob("constraints*.txt"):
        shutil.copy(file, root)
    (root / ".dvc").mkdir()
    return root


@pytest.fixture
def bootstrap(checkout: Path) -> ModuleType:
    """That checkout's script, as a module."""
    spec = importlib.util.spec_from_file_location("bootstrap_of_a_test", checkout / "scripts" / "bootstrap.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def install(home: Path, name: str, files: dict[str, str]) -> Path:
    """Put a package where an installer would; returns its folder of metadata."""
    site = home / "lib" / "python3.11" / "site-packages"
    info = site / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    for path, text in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text)
    rows = [f'"{path}",sha256=x,{len(text)}' for path, text in files.items()]
    (info / "RECORD").write_text("\n".join([*rows, f"{info.name}/RECORD,,", "gone/__pycache__/x.pyc,,5"]))
    return info


class TestDamage:
    def test_what_is_whole_is_left_alone(self, bootstrap: ModuleType):
        info = install(bootstrap.VENV, "fine", {"fine/__init__.py": "x = 1\n", "odd, name/data.txt": ""})
        assert bootstrap.forget_broken(bootstrap.VENV) == []
        assert bootstrap.installed(bootstrap.VENV) == {"fine": "1.0"}
        assert info.exists()

    @pytest.mark.parametrize("damage", ["missing", "cut short", "no record", "record of bytes"])
    def test_what_is_damaged_counts_as_not_installed(self, bootstrap: ModuleType, damage: str):
        install(bootstrap.VENV, "fine", {"fine/__init__.py": "x = 1\n"})
        info = install(bootstrap.VENV, "some_package", {"some/__init__.py": "x = 1\n"})
        file = info.parent / "some" / "__init__.py"
        if damage == "missing":
            file.unlink()
        elif damage == "cut short":
            file.write_text("x")
        elif damage == "no record":
            (info / "RECORD").unlink()
        else:
            (info / "RECORD").write_bytes(b"\xff\0\xfe")
        assert bootstrap.forget_broken(bootstrap.VENV) == ["some_package"]
        assert bootstrap.installed(bootstrap.VENV) == {"fine": "1.0"}


class TestNewOrNot:
    def test_the_first_one(self, bootstrap: ModuleType):
        assert bootstrap.reason_for_a_new_one({}) == "there is none"

    def test_one_that_was_never_finished_is_made_anew(self, bootstrap: ModuleType):
        bootstrap.VENV.mkdir()
        assert bootstrap.reason_for_a_new_one({}) == "the old one is incomplete"

    def test_a_venv_is_gone_on_with_unless_it_was_moved_or_has_another_python(
        self, bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.delenv("PYTHON", raising=False)
        venv.create(bootstrap.VENV, with_pip=False)
        state = {"root": str(bootstrap.ROOT), "python": "3.11.0"}
        assert bootstrap.reason_for_a_new_one(state) is None
        monkeypatch.setenv("PYTHON", sys.executable)
        assert bootstrap.reason_for_a_new_one(state) == "another Python was asked for"
        assert bootstrap.reason_for_a_new_one(state | {"python": bootstrap.PYTHON_VERSION}) is None
        assert "moved" in bootstrap.reason_for_a_new_one(state | {"root": "/elsewhere"})


class TestSources:
    def test_uv_is_told_what_pip_knows(self, bootstrap: ModuleType, tmp_path: Path):
        (bootstrap.VENV / "bin").mkdir(parents=True)
        bootstrap.PYTHON.symlink_to(sys.executable)
        config = tmp_path / "pip.conf"
        config.write_text("[global]\nfind-links = /a /b\ncert = /c.pem\n[install]\nfind-links = /d\nno-index = yes\n")
        bootstrap.ENVIRONMENT.update({"PIP_CONFIG_FILE": str(config), "SSL_CERT_FILE": "/uv.pem"})
        for name in ("PIP_FIND_LINKS", "PIP_CERT", "UV_FIND_LINKS", "UV_NO_INDEX"):
            bootstrap.ENVIRONMENT.pop(name, None)
        bootstrap.tell_uv_what_pip_knows()
        told = bootstrap.ENVIRONMENT
        assert (told["UV_FIND_LINKS"], told["UV_NO_INDEX"], told["SSL_CERT_FILE"]) == ("/d", "1", "/uv.pem")
        bootstrap.ENVIRONMENT.pop("UV_FIND_LINKS")
        bootstrap.ENVIRONMENT["PIP_FIND_LINKS"] = "/e /f"
        bootstrap.tell_uv_what_pip_knows()
        assert told["UV_FIND_LINKS"] == "/e,/f"

    def test_every_pin_it_needs_is_there(self, bootstrap: ModuleType):
        assert all(bootstrap.pin(CHECKOUT / "constraints.txt", name) for name in ("torch", "uv"))
        assert all(bootstrap.pin(CHECKOUT / "constraints-dvc.txt", name) for name in ("dvc", "ruamel-yaml-clib"))
        with pytest.raises(bootstrap.SetupError, match="no line 'uv==VERSION'"):
            bootstrap.pin(CHECKOUT / "constraints-dvc.txt", "uv")


class TestFilesOfTheCheckout:
    def test_dagsters_home_is_found_from_env(self, bootstrap: ModuleType):
        from dotenv import dotenv_values

        env = bootstrap.ROOT / ".env"
        env.write_text("SOME_KEY=1")
        bootstrap.write_dagster_home()
        written = env.read_text()
        assert dotenv_values(env) == {"SOME_KEY": "1", "DAGSTER_HOME": str(bootstrap.ROOT / ".dagster")}
        assert (bootstrap.ROOT / ".dagster" / "dagster.yaml").read_text() == (CHECKOUT / "dagster.yaml").read_text()
        bootstrap.write_dagster_home()
        assert env.read_text() == written
        env.write_text(written.replace("it\\'s a", "another"))
        bootstrap.write_dagster_home()
        assert env.read_text() == written

    def test_a_home_that_somebody_else_wrote_stays(self, bootstrap: ModuleType):
        env = bootstrap.ROOT / ".env"
        env.write_text("export DAGSTER_HOME=/mine\n")
        bootstrap.write_dagster_home()
        assert env.read_text() == "export DAGSTER_HOME=/mine\n"

    def test_dvc_works_without_git_and_with_it_again(self, bootstrap: ModuleType):
        local = bootstrap.ROOT / ".dvc" / "config.local"
        bootstrap.tell_dvc_about_git()
        assert "no_scm = true" in local.read_text()
        (bootstrap.ROOT / ".git").mkdir()
        bootstrap.tell_dvc_about_git()
        assert not local.exists()
        local.write_text("[cache]\n")
        bootstrap.tell_dvc_about_git()
        assert local.read_text() == "[cache]\n"


class TestMake:
    def make(self, checkout: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", "-C", str(checkout), "setup", *arguments],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def test_switches_reach_the_script(self, checkout: Path):
        script = "import os; print(*(os.environ.get(name) for name in ('TORCH', 'EXTRAS', 'PYTHON')))\n"
        (checkout / "scripts" / "bootstrap.py").write_text(script)
        done = self.make(checkout, "TORCH=cu130", "EXTRAS=", f"PYTHON={sys.executable}")
        assert f"cu130  {sys.executable}" in done.stdout

    def test_a_python_that_is_too_old_or_missing_is_named(self, checkout: Path, tmp_path: Path):
        old = tmp_path / "old" / "python3"
        old.parent.mkdir()
        old.write_text("#!/bin/sh\nexit 1\n")
        old.chmod(0o755)
        done = self.make(checkout, f"PYTHON={old}")
        assert done.returncode
        assert f"needs Python 3.11 or newer, {old} isn't" in done.stderr
        # Without a wish, the next one on the PATH is taken.
        (checkout / "scripts" / "bootstrap.py").write_text("print('went on')\n")
        (old.parent / "python3.12").symlink_to(sys.executable)
        assert "went on" in self.make(checkout, PATH=f"{old.parent}{os.pathsep}{os.environ['PATH']}").stdout

    def test_two_at_once_wait_for_each_other(self, bootstrap: ModuleType):
        import fcntl

        program = "import sys; sys.path.insert(0, 'scripts'); import bootstrap; bootstrap.wait_for_other_setups()"
        folder = os.open(bootstrap.ROOT, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            other = subprocess.Popen(
                [sys.executable, "-c", f"{program}; print('mine')"],
                cwd=bootstrap.ROOT,
                stdout=subprocess.PIPE,
                text=True,
            )
            assert other.stdout
            assert "waiting" in other.stdout.readline()
        finally:
            os.close(folder)
        assert other.stdout.read() == "mine\n"
        other.stdout.close()
        assert other.wait() == 0
