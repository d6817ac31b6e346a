"""A subvolume that lives: random operations on a real btrfs, and snapshots of it."""

import ctypes
import fcntl
import os
import shutil
import stat
import struct
import subprocess
import uuid
from contextlib import ExitStack, suppress
from pathlib import Path

_FALLOC_KEEP_SIZE = 1
_FALLOC_PUNCH_HOLE = 2
_RENAME_EXCHANGE = 2
_AT_FDCWD = -100
_SUBVOLUME_ROOT = 256
# linux/fs.h: _IOW(0x94, 13, struct file_clone_range)
_FICLONERANGE = 0x4020940D
_CLONE_RANGE = struct.Struct("<qQQQ")
# linux/btrfs.h: _IOWR(0x94, 37, struct btrfs_ioctl_received_subvol_args)
_SET_RECEIVED = 0xC0C89425
_RECEIVED = struct.Struct("<16sQ176x")
_libc = ctypes.CDLL(None, use_errno=True)


class History:
    """One subvolume below `directory`; operations that cannot be done now do nothing."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.live = directory / "live"
        self.snapshots: list[Path] = []
        self.is_received = False
        self.is_compressed = False
        self._clock = 1_400_000_000_000_000_000
        directory.mkdir()
        _btrfs("subvolume", "create", str(self.live))

    def mark_as_received(self) -> None:
        """Let the subvolume and its snapshots share the UUID of one that was received.

        Kernels that do not clear it let a received subvolume be made writable with it.
        """
        descriptor = os.open(self.live, os.O_RDONLY)
        try:
            arguments = bytearray(_RECEIVED.pack(uuid.uuid4().bytes, 1))
            fcntl.ioctl(descriptor, _SET_RECEIVED, arguments)
        finally:
            os.close(descriptor)
        self.is_received = True

    def compress(self, algorithm: str) -> None:
        """Let the file system compress what is created from now on."""
        _btrfs("property", "set", str(self.live), "compression", algorithm)
        self.is_compressed = True

    def snapshot(self) -> Path:
        """Make the next read-only snapshot."""
        path = self.directory / f"s{len(self.snapshots) + 1}"
        _btrfs("subvolume", "snapshot", "-r", str(self.live), str(path))
        self.snapshots.append(path)
        return path

    def delete(self) -> None:
        """Delete the subvolume and its snapshots."""
        for place, names, _ in os.walk(os.fsencode(self.live), topdown=False):
            for name in names:
                self.do("delete_subvolume", os.path.join(place, name))
        for path in (self.live, *self.snapshots):
            _btrfs("subvolume", "delete", str(path))
        shutil.rmtree(self.directory)

    def path(self, name: bytes) -> bytes:
        """Return the full path of `name`."""
        return os.path.join(os.fsencode(self.live), name)

    def do(self, operation: str, *arguments: object) -> None:
        """Do one operation by name; what the file system refuses is not done."""
        with suppress(OSError, subprocess.CalledProcessError):
            getattr(self, operation)(*arguments)

    # Operations.

    def create(self, name: bytes, size: int) -> None:
        with open(self.path(name), "xb") as file:
            file.write(_content(name, size))

    def write(self, name: bytes, offset: int, size: int) -> None:
        descriptor = os.open(self.path(name), os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            self._clock += 1
            os.pwrite(descriptor, _content(name + str(self._clock).encode(), size), offset)
        finally:
            os.close(descriptor)

    def truncate(self, name: bytes, size: int) -> None:
        # truncate(2) would follow a symbolic link, to whatever it leads on this host.
        descriptor = os.open(self.path(name), os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            os.ftruncate(descriptor, size)
        finally:
            os.close(descriptor)

    def punch(self, name: bytes, offset: int, size: int) -> None:
        descriptor = os.open(self.path(name), os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            _libc.fallocate(
                descriptor,
                _FALLOC_KEEP_SIZE | _FALLOC_PUNCH_HOLE,
                ctypes.c_long(offset),
                ctypes.c_long(max(size, 1)),
            )
        finally:
            os.close(descriptor)

    def clone_range(self, origin: bytes, name: bytes, blocks: tuple[int, int, int]) -> None:
        source_block, count, target_block = blocks
        flags = os.O_NOFOLLOW | os.O_NONBLOCK
        with ExitStack() as stack:
            source = os.open(self.path(origin), os.O_RDONLY | flags)
            stack.callback(os.close, source)
            target = os.open(self.path(name), os.O_RDWR | flags)
            stack.callback(os.close, target)
            arguments = (source, source_block * 4096, count * 4096, target_block * 4096)
            fcntl.ioctl(target, _FICLONERANGE, _CLONE_RANGE.pack(*arguments))

    def copy_by_reference(self, origin: bytes, name: bytes) -> None:
        """Let a new file share the blocks of another, which is then overwritten."""
        self.create(name, 0)
        self.clone_range(origin, name, (0, 0, 0))  # no length: all that there is
        self.write(origin, 0, 4096)

    def rename(self, old: bytes, new: bytes) -> None:
        os.rename(self.path(old), self.path(new))

    def change_case(self, name: bytes) -> None:
        """Rename to a name that differs in the case of its letters only."""
        directory, last = os.path.split(name)
        self.rename(name, os.path.join(directory, last.swapcase()))

    def exchange(self, one: bytes, other: bytes) -> None:
        _libc.renameat2(_AT_FDCWD, self.path(one), _AT_FDCWD, self.path(other), _RENAME_EXCHANGE)

    def link(self, existing: bytes, name: bytes) -> None:
        os.link(self.path(existing), self.path(name), follow_symlinks=False)

    def replace_by_copy(self, name: bytes) -> None:
        """Part a file from its other names; its content, size and times stay."""
        if stat.S_ISREG(os.lstat(self.path(name)).st_mode):
            shutil.copy2(self.path(name), self.path(name) + b" copy")
            os.rename(self.path(name) + b" copy", self.path(name))

    def rewrite_keeping_times(self, name: bytes) -> None:
        """Change the content of a file; its size and times stay."""
        status = os.lstat(self.path(name))
        self.write(name, 0, min(status.st_size, 100))
        os.utime(self.path(name), ns=(status.st_atime_ns, status.st_mtime_ns))

    def unlink(self, name: bytes) -> None:
        os.unlink(self.path(name))

    def make_directory(self, name: bytes) -> None:
        os.mkdir(self.path(name))

    def remove_directory(self, name: bytes) -> None:
        os.rmdir(self.path(name))

    def remove_tree(self, name: bytes) -> None:
        if os.path.isdir(self.path(name)):  # rmtree() would wait for a writer of a FIFO
            shutil.rmtree(self.path(name))

    def make_subvolume(self, name: bytes) -> None:
        if not os.path.lexists(self.path(name)) and os.path.isdir(os.path.dirname(self.path(name))):
            _btrfs("subvolume", "create", os.fsdecode(self.path(name)))

    def delete_subvolume(self, name: bytes) -> None:
        if os.lstat(self.path(name)).st_ino == _SUBVOLUME_ROOT:
            _btrfs("subvolume", "delete", os.fsdecode(self.path(name)))

    def symlink(self, name: bytes, reference: bytes) -> None:
        os.symlink(reference, self.path(name))

    def make_special(self, name: bytes, mode: int) -> None:
        os.mknod(self.path(name), mode, os.makedev(1, 3))

    def change_type(self, name: bytes, kind: str) -> None:
        path = self.path(name)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
        if kind == "file":
            self.create(name, 10)
        elif kind == "directory":
            os.mkdir(path)
        else:
            os.symlink(b"somewhere", path)

    def change_mode(self, name: bytes, mode: int) -> None:
        if not os.path.islink(self.path(name)):
            os.chmod(self.path(name), mode)

    def change_owner(self, name: bytes, uid: int, gid: int) -> None:
        os.chown(self.path(name), uid, gid, follow_symlinks=False)

    def set_times(self, name: bytes, nanoseconds: int) -> None:
        os.utime(self.path(name), ns=(nanoseconds, nanoseconds), follow_symlinks=False)

    def set_xattr(self, name: bytes, key: str, value: bytes) -> None:
        os.setxattr(self.path(name), key, value, follow_symlinks=False)

    def remove_xattr(self, name: bytes, key: str) -> None:
        os.removexattr(self.path(name), key, follow_symlinks=False)


def _content(seed: bytes, size: int) -> bytes:
    return (seed * (size // max(len(seed), 1) + 1))[:size]


def _btrfs(*arguments: str) -> None:
    subprocess.run(("btrfs", "--quiet", *arguments), check=True, capture_output=True)
