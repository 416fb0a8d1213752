"""Which file system a path is on, and whether a SQLite file is safe there."""

from __future__ import annotations

import re
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")

REMOTE = frozenset(
    "9p acfs afs beegfs ceph cifs coda fakeowner fuse.glusterfs fuse.grpcfuse fuse.osxfs fuse.s3fs fuse.sshfs gfs2 "
    "glusterfs gpfs lustre ncpfs nfs nfs4 ocfs2 prl_fs smb2 smb3 smbfs vboxsf virtiofs vmhgfs fuse.vmhgfs-fuse".split()
)
"""Their locks or shared memory do not reach all who use the file, so WAL breaks it."""


def file_system(path: Path) -> str | None:
    """The type of the file system that ``path`` is on; None where the system does not tell."""
    try:
        return file_system_in(MOUNTS.read_text(), path.resolve())
    except OSError:
        return None


def file_system_in(mounts: str, path: Path) -> str | None:
    """The same from the text of /proc/self/mountinfo."""
    found, depth = None, -1
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        point = Path(re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), left.split()[4]))
        # Of two on one point, the later one covers the other.
        if path.is_relative_to(point) and len(point.parts) >= depth:
            found, depth = right.split()[0], len(point.parts)
    return found
