"""A file is whole or not there: failing writes, killed writers, access rights, links."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys

import pytest

from rnnfast.io import atomic, load_model
from rnnfast.io.atomic import atomic_write


def test_writes_and_replaces(tmp_path):
    path = tmp_path / "a"
    for content in (b"one", b"second"):
        with atomic_write(path) as file:
            file.write(content)
        assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["a"]


def test_an_exception_leaves_the_old_file(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), atomic_write(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a"]


def test_a_missing_folder_is_told_of_by_the_name_that_was_asked_for(tmp_path):
    path = tmp_path / "nowhere" / "a"
    with pytest.raises(FileNotFoundError) as caught, atomic_write(path):
        pass
    assert caught.value.filename == str(path)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failing_disk_leaves_the_old_file(call, tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, call, fail)
    with pytest.raises(OSError, match="No space") as caught, atomic_write(path) as file:
        file.write(b"new")
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a"]


def test_file_then_rename_then_folder_are_synced(tmp_path, monkeypatch):
    calls = []

    def fsync(descriptor):
        calls.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")

    real = os.replace
    monkeypatch.setattr(atomic.os, "fsync", fsync)
    monkeypatch.setattr(atomic.os, "replace", lambda *names: (calls.append("rename"), real(*names)))
    with atomic_write(tmp_path / "a") as file:
        file.write(b"x")
    assert calls == ["file", "rename", "folder"]


WRITER = """
import os, sys
from rnnfast.io.atomic import atomic_write
with atomic_write(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    print("half", flush=True)
    sys.stdin.read()
"""


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout.readline() == b"half\n"
        writer.send_signal(signal.SIGKILL)
        assert writer.wait() == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    with atomic_write(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"


def test_rights_of_an_existing_file_are_kept(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(0o640)
    with atomic_write(path):
        pass
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_link_is_followed(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    link.symlink_to(target)
    with atomic_write(link) as file:
        file.write(b"x")
    assert link.is_symlink() and target.read_bytes() == b"x"


def test_folders_are_refused(tmp_path):
    with pytest.raises(IsADirectoryError), atomic_write(tmp_path):
        pass
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "absent" / "a"):
        pass
    assert os.listdir(tmp_path) == []


SAVER = """
import sys
from rnnfast.io import save_model
from rnnfast.layers.dense import Dense
models = [Dense(300, 300, seed=seed) for seed in range(2)]
while True:
    for model in models:
        save_model(model, sys.argv[1])
        print("saved", flush=True)
"""


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_model_saved_over_and_over_by_a_process_that_is_killed_can_be_loaded(suffix, tmp_path):
    path = tmp_path / f"m{suffix}"
    with subprocess.Popen([sys.executable, "-c", SAVER, str(path)], stdout=subprocess.PIPE) as saver:
        for _ in range(5):
            assert saver.stdout.readline() == b"saved\n"
        # Somewhere within the sixth.
        saver.kill()
        saver.wait()
    assert load_model(path).num_parameters() == 300 * 301
