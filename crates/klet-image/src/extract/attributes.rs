//! Owner, mode, extended attributes and time of a file, in the order in which they survive one another.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{self, AtFlags, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::io::Errno;

use crate::merged::{Found, OPAQUE};
use crate::tarstream::Entry;

/// Largest value of an extended attribute (XATTR_SIZE_MAX).
const MAX_VALUE: usize = 65536;

/// What an entry says about its file, apart from content.
pub(super) struct Attributes {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) mtime: Option<(i64, u32)>,
}

impl Default for Attributes {
    /// Of a directory that nobody described.
    fn default() -> Self {
        Self { mode: 0o755, uid: 0, gid: 0, xattrs: Vec::new(), mtime: None }
    }
}

impl From<&Entry> for Attributes {
    fn from(entry: &Entry) -> Self {
        let xattrs = entry.xattrs.clone();
        Self { mode: entry.mode, uid: entry.uid, gid: entry.gid, xattrs, mtime: Some(entry.mtime) }
    }
}

impl Attributes {
    /// Reads them from a file of another layer.
    pub(super) fn of(found: &Found) -> io::Result<Self> {
        let stat = &found.stat;
        let readable =
            matches!(found.file_type(), fs::FileType::RegularFile | fs::FileType::Directory);
        let xattrs = if readable { read_xattrs(found.open()?.as_fd())? } else { Vec::new() };
        let mtime = Some((stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0)));
        Ok(Self { mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid, xattrs, mtime })
    }

    /// Applies all but the time to an open file or directory. Changing the owner clears setuid bits and file
    /// capabilities, so it comes first.
    pub(super) fn apply(&self, fd: &impl AsFd) -> io::Result<()> {
        fs::fchown(fd, Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))?;
        fs::fchmod(fd, Mode::from_raw_mode(self.mode))?;
        for (name, value) in self.xattrs.iter().filter(|(name, _)| is_kept(name)) {
            match fs::fsetxattr(fd, OsStr::from_bytes(name), value, XattrFlags::empty()) {
                Err(Errno::OPNOTSUPP) if name.starts_with(b"user.") => {}
                result => result?,
            }
        }
        Ok(())
    }

    /// As [`Self::apply`], for what cannot be opened: links, devices, fifos. Sets the time as well.
    pub(super) fn apply_at(
        &self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        link: bool,
    ) -> io::Result<()> {
        let (uid, gid) = (Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)));
        fs::chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        if !link {
            // Just made by us in a directory nobody else can reach, so it is no link.
            fs::chmodat(parent, name, Mode::from_raw_mode(self.mode), AtFlags::empty())?;
        }
        self.mtime.map_or(Ok(()), |mtime| set_mtime_at(parent, name, mtime))
    }

    /// Sets the modification time of an open file.
    pub(super) fn apply_time(&self, fd: &impl AsFd) -> io::Result<()> {
        let Some(mtime) = self.mtime else { return Ok(()) };
        Ok(fs::futimens(fd, &timestamps(mtime))?)
    }

    /// Marks a directory as hiding everything below it.
    pub(super) fn set_opaque(fd: &impl AsFd) -> io::Result<()> {
        Ok(fs::fsetxattr(fd, OPAQUE, b"y", XattrFlags::empty())?)
    }
}

/// Sets the modification time of a file that is not followed if it is a link.
pub(super) fn set_mtime_at(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    mtime: (i64, u32),
) -> io::Result<()> {
    Ok(fs::utimensat(parent, name, &timestamps(mtime), AtFlags::SYMLINK_NOFOLLOW)?)
}

fn timestamps((seconds, nanos): (i64, u32)) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: nanos.into() },
    }
}

/// File capabilities and users' own attributes. Never `trusted.*`: it steers overlayfs itself.
fn is_kept(name: &[u8]) -> bool {
    name == b"security.capability" || name.starts_with(b"user.")
}

fn read_xattrs(fd: BorrowedFd<'_>) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut names = vec![0; MAX_VALUE];
    let length = match fs::flistxattr(fd, &mut names[..]) {
        Err(Errno::OPNOTSUPP) => 0,
        result => result?,
    };
    let mut xattrs = Vec::new();
    for name in names[..length].split(|&byte| byte == 0).filter(|name| is_kept(name)) {
        let mut value = vec![0; MAX_VALUE];
        let length = fs::fgetxattr(fd, OsStr::from_bytes(name), &mut value[..])?;
        value.truncate(length);
        xattrs.push((name.to_vec(), value));
    }
    Ok(xattrs)
}
