//! The kubelet's atomic writer: all files of a volume change at the same moment.
//!
//! The data lies in a directory named after the time; `..data` links to it and is replaced by one
//! rename; each top-level name links through `..data`. Everything goes through handles: a privileged
//! container may have put links of its own into the volume.

use std::collections::BTreeSet;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use jiff::Timestamp;
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, open, openat2, readlinkat,
    renameat, symlinkat, unlinkat,
};
use rustix::io::Errno;

use crate::ownership::Ownership;
use crate::payload::{Content, Files};
use crate::remove;

const DATA: &str = "..data";
const DATA_NEW: &str = "..data_tmp";
const DIRECTORY_MODE: u32 = 0o755;
const PERMISSIONS: u32 = 0o7777;
/// Attempts to find a name for the new directory that is not taken.
const NAME_ATTEMPTS: u32 = 100;

/// Brings the volume to this content; writes nothing when it has it already.
pub(crate) fn write(
    volume: &Path,
    files: &Files,
    ownership: Ownership,
    now: Timestamp,
) -> io::Result<()> {
    let root = open(
        volume,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    ownership.apply_to_directory(&root)?;
    let old = data_directory(root.as_fd());
    if let Some(old) = &old
        && is_current(root.as_fd(), old, files, ownership)?
    {
        // An earlier attempt may have ended between the switch and the names.
        return update_names(root.as_fd(), files);
    }
    let fresh = make_directory(root.as_fd(), now)?;
    write_files(open_inside(root.as_fd(), &fresh, OFlags::DIRECTORY)?.as_fd(), files, ownership)?;
    remove_name(root.as_fd(), DATA_NEW)?;
    symlinkat(&fresh, &root, DATA_NEW)?;
    renameat(&root, DATA_NEW, &root, DATA)?;
    update_names(root.as_fd(), files)?;
    remove_outdated(root.as_fd(), &fresh)
}

/// The directory that `..data` names, if it is one of ours.
fn data_directory(root: BorrowedFd<'_>) -> Option<String> {
    let target = readlinkat(root, DATA, Vec::new()).ok()?.into_string().ok()?;
    is_data_name(&target).then_some(target)
}

fn is_data_name(name: &str) -> bool {
    name.strip_prefix("..")
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()) && !rest.contains('/'))
}

fn open_inside(root: BorrowedFd<'_>, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    openat2(root, path, flags, Mode::empty(), resolve)
}

fn make_directory(root: BorrowedFd<'_>, now: Timestamp) -> io::Result<String> {
    let nanos = now.subsec_nanosecond().unsigned_abs();
    let stem = now.strftime("..%Y_%m_%d_%H_%M_%S").to_string();
    for attempt in 0..NAME_ATTEMPTS {
        let name = format!("{stem}.{:09}", nanos.wrapping_add(attempt));
        match mkdirat(root, &name, Mode::from_raw_mode(DIRECTORY_MODE)) {
            Err(Errno::EXIST) => {}
            other => return other.map(|()| name).map_err(Into::into),
        }
    }
    Err(Errno::EXIST.into())
}

fn write_files(fresh: BorrowedFd<'_>, files: &Files, ownership: Ownership) -> io::Result<()> {
    ownership.apply(fresh, ownership.directory_mode(DIRECTORY_MODE))?;
    for (path, content) in files {
        let (parents, name) =
            path.rsplit_once('/').map_or((None, path.as_str()), |(p, n)| (Some(p), n));
        let mut directory = fresh.try_clone_to_owned()?;
        for part in parents.into_iter().flat_map(|parents| parents.split('/')) {
            directory = enter(directory.as_fd(), part, ownership)?;
        }
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&directory, name, flags, Mode::RUSR | Mode::WUSR)?;
        let mut file = std::fs::File::from(file);
        file.write_all(&content.bytes)?;
        ownership.apply(&file, content.mode)?;
    }
    Ok(())
}

/// The directory `name`, made if it is not there yet.
fn enter(parent: BorrowedFd<'_>, name: &str, ownership: Ownership) -> io::Result<OwnedFd> {
    let made = match mkdirat(parent, name, Mode::from_raw_mode(DIRECTORY_MODE)) {
        Err(Errno::EXIST) => false,
        other => other.map(|()| true)?,
    };
    let directory = open_inside(parent, name, OFlags::DIRECTORY)?;
    if made {
        ownership.apply(&directory, ownership.directory_mode(DIRECTORY_MODE))?;
    }
    Ok(directory)
}

/// Link the top-level names that are there and unlink those that are no more.
fn update_names(root: BorrowedFd<'_>, files: &Files) -> io::Result<()> {
    let wanted: BTreeSet<&str> = files.keys().filter_map(|path| path.split('/').next()).collect();
    for name in &wanted {
        let target = format!("{DATA}/{name}");
        let current = readlinkat(root, *name, Vec::new()).ok();
        if current.is_none_or(|link| link.as_bytes() != target.as_bytes()) {
            remove_name(root, name)?;
            symlinkat(&target, root, *name)?;
        }
    }
    for name in names(root)? {
        if !name.starts_with("..") && !wanted.contains(name.as_str()) {
            remove_name(root, &name)?;
        }
    }
    Ok(())
}

/// Remove every data directory but the current one, those of interrupted attempts as well.
fn remove_outdated(root: BorrowedFd<'_>, current: &str) -> io::Result<()> {
    for name in names(root)?.iter().filter(|name| is_data_name(name) && *name != current) {
        remove::tree_at(root, name)?;
    }
    Ok(())
}

fn remove_name(root: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    match unlinkat(root, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        // Nothing of ours: a privileged container made a directory here.
        Err(Errno::ISDIR) => remove::tree_at(root, name),
        Err(errno) => Err(errno.into()),
    }
}

fn names(root: BorrowedFd<'_>) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in Dir::read_from(root)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name != "." && name != ".." {
            found.push(name);
        }
    }
    Ok(found)
}

/// Whether the data directory holds exactly these files with these modes and their group.
fn is_current(
    root: BorrowedFd<'_>,
    data: &str,
    files: &Files,
    ownership: Ownership,
) -> io::Result<bool> {
    let directory = match open_inside(root, data, OFlags::DIRECTORY) {
        Ok(directory) => directory,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => return Ok(false),
        Err(errno) => return Err(errno.into()),
    };
    let mut matching = 0;
    let mut pending = vec![(directory, String::new())];
    while let Some((directory, prefix)) = pending.pop() {
        for name in names(directory.as_fd())? {
            let path = format!("{prefix}{name}");
            let inside = format!("{path}/");
            let wanted = files.get(&path);
            let is_parent =
                files.range(inside.clone()..).next().is_some_and(|(p, _)| p.starts_with(&inside));
            match open_inside(directory.as_fd(), &name, OFlags::empty()) {
                Ok(child) if is_parent => pending.push((child, inside)),
                Ok(file) if wanted.is_some_and(|content| has(&file, content, ownership)) => {
                    matching += 1
                }
                // Something else than what we wrote.
                _ => return Ok(false),
            }
        }
    }
    Ok(matching == files.len())
}

fn has(file: &OwnedFd, content: &Content, ownership: Ownership) -> bool {
    let Ok(status) = fstat(file) else { return false };
    let regular = FileType::from_raw_mode(status.st_mode) == FileType::RegularFile;
    if !regular || status.st_mode & PERMISSIONS != content.mode || !ownership.fits(status.st_gid) {
        return false;
    }
    let mut bytes = Vec::with_capacity(content.bytes.len());
    let longer = content.bytes.len() as u64 + 1;
    let Ok(file) = file.try_clone() else { return false };
    std::fs::File::from(file).take(longer).read_to_end(&mut bytes).is_ok() && bytes == content.bytes
}
