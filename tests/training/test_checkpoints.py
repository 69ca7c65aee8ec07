"""Checkpoints are written whole or not at all, and read only if they are what was written."""

import errno
import os
import pickle
import random
import resource
import subprocess
import time

import pytest
import torch

from tests.training.processes import SERVER
from torchdau.training.checkpoints import read_checkpoint, write_checkpoint


def content(number=0, size=1000):
    generator = torch.Generator().manual_seed(number)
    return {"number": number, "state_dict": {"weight": torch.randn(size, generator=generator)}, "config": "a: 1"}


def damaged(numbers, whole, flips, cuts):
    """Copies with one bit turned, and beginnings."""
    for _ in range(flips):
        copy = bytearray(whole)
        copy[numbers.randrange(len(copy))] ^= 1 << numbers.randrange(8)
        yield bytes(copy)
    for _ in range(cuts):
        yield whole[: numbers.randrange(len(whole))]


def test_what_is_read_is_what_was_written(tmp_path):
    write_checkpoint(content(3), tmp_path / "new/last.ckpt")
    saved = read_checkpoint(tmp_path / "new/last.ckpt")
    assert (saved["number"], saved["config"]) == (3, "a: 1")
    assert torch.equal(saved["state_dict"]["weight"], content(3)["state_dict"]["weight"])
    assert torch.equal(torch.load(tmp_path / "new/last.ckpt")["state_dict"]["weight"], saved["state_dict"]["weight"])
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["last.ckpt"]


def test_damage_is_noticed(tmp_path):
    """400 files with one bit turned, and 100 that are cut off."""
    write_checkpoint(content(), tmp_path / "whole.ckpt")
    whole = (tmp_path / "whole.ckpt").read_bytes()
    refused = 0
    for copy in damaged(random.Random(0), whole, 400, 100):
        (tmp_path / "bad.ckpt").write_bytes(copy)
        with pytest.raises(ValueError, match=r"checkpoint must be a file that torchdau fit wrote, got '.*bad.ckpt'"):
            read_checkpoint(tmp_path / "bad.ckpt")
        refused += 1
    assert refused == 500


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("force", ["", "1"])
def test_hostile_pickles_run_nothing(force, torchdau, tmp_path, monkeypatch):
    """Whatever the environment says; with a digest too, which anyone can make."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", force)
    (tmp_path / "pickle.ckpt").write_bytes(pickle.dumps(Hostile(tmp_path / "ran")))
    torch.save(Hostile(tmp_path / "ran"), tmp_path / "torch.ckpt")
    torch.save(Hostile(tmp_path / "ran"), tmp_path / "old.ckpt", _use_new_zipfile_serialization=False)
    write_checkpoint({"config": Hostile(tmp_path / "ran")}, tmp_path / "digest.ckpt")
    for name in ("pickle", "torch", "old", "digest"):
        with pytest.raises(
            ValueError, match=rf"checkpoint must be a file that torchdau fit wrote, got '.*{name}.ckpt'"
        ):
            read_checkpoint(tmp_path / f"{name}.ckpt")
        with pytest.raises(SystemExit, match="torchdau test: checkpoint must be a file that torchdau fit wrote"):
            torchdau("test", "--ckpt_path", f"{name}.ckpt")
    assert not (tmp_path / "ran").exists()


def test_no_room(tmp_path):
    """20 sizes, as a full disk would leave: the checkpoint before is kept, and no part of the new one."""
    path = tmp_path / "last.ckpt"
    write_checkpoint(content(0), path)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for size in range(0, 5200, 260):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
        try:
            with pytest.raises(OSError, match="cannot be written, File too large") as caught:
                write_checkpoint(content(1), path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert path.read_bytes() == before
        assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]
        said = str(caught.value)
        assert f"checkpoint of {len(before):,} bytes cannot be written" in said
        assert f"bytes are free. The one before is kept: '{path}'" in said
    write_checkpoint(content(2), path)
    assert read_checkpoint(path)["number"] == 2


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        write_checkpoint(content(0), disk / "last.ckpt")
        with pytest.raises(
            OSError, match=r"checkpoint of 4\d\d,\d\d\d bytes cannot be written, No space left on device"
        ):
            write_checkpoint(content(1, 100_000), disk / "last.ckpt")
        assert read_checkpoint(disk / "last.ckpt")["number"] == 0
        assert [file.name for file in disk.iterdir()] == ["last.ckpt"]
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot be written, .*None was there: '.*file/last.ckpt'") as caught:
        write_checkpoint(content(), tmp_path / "file/last.ckpt")
    assert caught.value.errno in (errno.ENOTDIR, errno.EEXIST)


def endless(path):
    """Writes one checkpoint after the other."""
    number = 0
    while True:
        number += 1
        write_checkpoint(content(number, 200_000), path)


def kills_while_saving(path, count):
    """After each kill the checkpoint that is there can be read, and is no older than the one before."""
    numbers, partial = random.Random(0), 0
    newest = 0
    for _ in range(count):
        process = SERVER.Process(target=endless, args=(path,))
        process.start()
        while not path.exists() or time.time() - path.stat().st_mtime > 0.5:
            time.sleep(0.001)
        time.sleep(numbers.random() * 0.02)
        process.kill()
        process.join()
        partial += path.with_name("last.ckpt.part").exists()
        newest = read_checkpoint(path)["number"]
        assert newest >= 1
        os.utime(path, (0, 0))
    return partial


def test_a_few_kills_while_saving(tmp_path):
    kills_while_saving(tmp_path / "last.ckpt", 5)


@pytest.mark.slow
def test_kills_while_saving(tmp_path):
    """200 of them; many find a file that is half written."""
    assert kills_while_saving(tmp_path / "last.ckpt", 200) > 20
