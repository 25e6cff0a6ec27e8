"""The cache is the user's own: what was compiled there is run."""

import stat
from types import SimpleNamespace

import jax
import pytest

from qc_jax.data import cache
from qc_jax.errors import OutputError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("QC_JAX_CACHE", str(tmp_path / "deep" / "cache"))
    return tmp_path / "deep" / "cache"


def test_a_new_folder_is_the_users_alone(folder):
    assert cache.default_folder() == folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o1777, 0o775])
def test_below_a_folder_that_others_write_each_user_has_one(folder, mode):
    folder.mkdir(parents=True)
    folder.chmod(mode)
    own = cache.default_folder()
    assert own.parent == folder and own.name.startswith("user-")
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    own.chmod(0o777)  # somebody made it first
    with pytest.raises(OutputError, match=r"written by others; set QC_JAX_CACHE"):
        cache.default_folder()


def test_a_folder_of_another_user_is_not_taken(folder, monkeypatch):
    monkeypatch.setattr(cache.os, "getuid", lambda: 4711)
    other = SimpleNamespace(st_uid=1234, st_mode=0o40700)
    monkeypatch.setattr(cache.Path, "stat", lambda path, **_: other)
    with pytest.raises(OutputError, match="user-4711"):
        cache.default_folder()


def test_without_a_place_nothing_is_kept_and_it_is_said(folder):
    folder.parent.write_text("a file")
    before = jax.config.jax_compilation_cache_dir
    with pytest.warns(UserWarning, match="what is compiled is not kept"):
        cache.use_compilation_cache()
    assert jax.config.jax_compilation_cache_dir == before


def test_a_user_without_a_home(monkeypatch, tmp_path):
    for name in ("QC_JAX_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(cache.Path, "home", no_home)
    monkeypatch.setattr(cache.tempfile, "gettempdir", lambda: str(tmp_path))
    assert cache.default_folder() == tmp_path / "qc_jax"
