"""A file layer under SQLite that fails on demand: the N-th write or fsync, torn or not, or all."""

import apsw


class PowerCut(Exception):
    """The disk is gone; whatever is asked of it from now on fails."""


class FailingDisk(apsw.VFS):
    """Counts writes and fsyncs, and lets a chosen one fail.

    Args:
        name: under which SQLite finds it.
    """

    def __init__(self, name="failing"):
        self.name = name
        super().__init__(name, "unix")
        self.heal()

    def heal(self):
        """Work as a disk should, and count from 0."""
        self.writes = self.syncs = 0
        self.fail_write = self.fail_sync = self.fill_at = None
        self.torn = False
        self.cut_after = False
        self.full = False
        self.dead = False
        self.unreadable = False
        self.failed = False

    def waits(self):
        """Called before each fsync; for disks that are slow."""

    def xOpen(self, name, flags):
        return FailingFile(self, name, flags)


class FailingFile(apsw.VFSFile):
    def __init__(self, disk, name, flags):
        self.disk = disk
        super().__init__("unix", name, flags)

    def xRead(self, amount, offset):
        if self.disk.unreadable:
            raise apsw.IOError("read failed")
        return super().xRead(amount, offset)

    def xWrite(self, data, offset):
        disk = self.disk
        if disk.dead:
            raise apsw.IOError("the power is off")
        number, disk.writes = disk.writes, disk.writes + 1
        if number == disk.fill_at:
            disk.full = disk.failed = True
        if disk.full:
            raise apsw.FullError("no space left on device")
        if number == disk.fail_write:
            disk.failed = True
            disk.dead = disk.cut_after
            if disk.torn:
                super().xWrite(data[: len(data) // 2], offset)
            raise apsw.IOError("write failed")
        return super().xWrite(data, offset)

    def xSync(self, flags):
        disk = self.disk
        if disk.dead:
            raise apsw.IOError("the power is off")
        number, disk.syncs = disk.syncs, disk.syncs + 1
        if number == disk.fail_sync:
            disk.failed = True
            disk.dead = disk.cut_after
            raise apsw.IOError("fsync failed")
        disk.waits()
        return super().xSync(flags)

    def xTruncate(self, size):
        if self.disk.dead:
            raise apsw.IOError("the power is off")
        return super().xTruncate(size)
