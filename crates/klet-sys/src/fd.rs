//! Descriptors: pipes, standard streams, closing in bulk, what kind of file one is.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::fs::{Mode, OFlags};

use crate::error::{Named, SysError, check, retry};

/// A close-on-exec pipe: (read end, write end).
///
/// # Errors
/// `EMFILE`, `ENFILE`.
pub fn pipe() -> Result<(OwnedFd, OwnedFd), SysError> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).named("pipe2")
}

/// Opens a path of our own (never one that a container controls).
///
/// # Errors
/// Those of open(2).
pub fn open(path: &CStr, flags: OFlags) -> Result<OwnedFd, SysError> {
    retry(|| rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty()).named("open"))
}

/// Makes `to` (0, 1 or 2) a copy of `from`, open across exec.
///
/// # Errors
/// Those of dup2(2).
pub fn duplicate_onto(from: BorrowedFd<'_>, to: RawFd) -> Result<(), SysError> {
    // SAFETY: dup2 takes plain numbers; replacing a standard stream closes nothing that is owned in Rust.
    let answer = unsafe { libc::dup2(from.as_raw_fd(), to) };
    check("dup2", answer.into())?;
    if from.as_raw_fd() == to {
        rustix::io::fcntl_setfd(from, rustix::io::FdFlags::empty()).named("fcntl(F_SETFD)")?;
    }
    Ok(())
}

/// Moves a descriptor out of the way of the standard streams, if it lies among them.
///
/// # Errors
/// `EMFILE`.
pub fn above_standard_streams(file: OwnedFd) -> Result<OwnedFd, SysError> {
    if file.as_raw_fd() > 2 {
        return Ok(file);
    }
    rustix::io::fcntl_dupfd_cloexec(&file, 3).named("fcntl(F_DUPFD)")
}

/// Marks every descriptor from `first` upwards close-on-exec.
///
/// # Errors
/// `ENOSYS` or `EINVAL` before Linux 5.11.
pub fn close_on_exec_from(first: u32) -> Result<(), SysError> {
    // SAFETY: with CLOSE_RANGE_CLOEXEC no descriptor is closed now; the flag takes effect at exec.
    let answer =
        unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    check("close_range", answer).map(drop)
}

/// The mode, device number and owner of an open file.
///
/// # Errors
/// Those of fstat(2).
pub fn status(file: impl AsFd) -> Result<rustix::fs::Stat, SysError> {
    rustix::fs::fstat(file).named("fstat")
}

/// Gives a file to a user and group.
///
/// # Errors
/// Those of fchown(2).
pub fn change_owner(file: impl AsFd, user: u32, group: Option<u32>) -> Result<(), SysError> {
    let group = group.map(rustix::fs::Gid::from_raw);
    rustix::fs::fchown(file, Some(rustix::fs::Uid::from_raw(user)), group).named("fchown")
}

/// Whether the file is a pipe or FIFO.
///
/// # Errors
/// Those of fstat(2).
pub fn is_pipe(file: impl AsFd) -> Result<bool, SysError> {
    Ok(status(file)?.st_mode & libc::S_IFMT == libc::S_IFIFO)
}

/// Whether the file is the null device: character device 1:3, whatever its name.
///
/// # Errors
/// Those of fstat(2).
pub fn is_null_device(file: impl AsFd) -> Result<bool, SysError> {
    let status = status(file)?;
    Ok(status.st_mode & libc::S_IFMT == libc::S_IFCHR && status.st_rdev == libc::makedev(1, 3))
}

/// Whether the file is a directory.
///
/// # Errors
/// Those of fstat(2).
pub fn is_directory(file: impl AsFd) -> Result<bool, SysError> {
    Ok(status(file)?.st_mode & libc::S_IFMT == libc::S_IFDIR)
}

/// Reads once into `buffer`; 0 is the end.
///
/// # Errors
/// Those of read(2).
pub fn read(file: impl AsFd, buffer: &mut [u8]) -> Result<usize, SysError> {
    let file = file.as_fd();
    retry(|| rustix::io::read(file, &mut *buffer).named("read"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_carries_bytes_and_ends() {
        let (reader, writer) = pipe().unwrap();
        crate::process::write_once(writer.as_fd(), b"hello").unwrap();
        drop(writer);
        let mut buffer = [0; 16];
        assert_eq!(read(&reader, &mut buffer).unwrap(), 5);
        assert_eq!(&buffer[..5], b"hello");
        assert_eq!(read(&reader, &mut buffer).unwrap(), 0);
        assert!(is_pipe(&reader).unwrap());
    }

    #[test]
    fn the_null_device_is_known_by_number() {
        let null = open(c"/dev/null", OFlags::RDWR).unwrap();
        let zero = open(c"/dev/zero", OFlags::RDWR).unwrap();
        assert!(is_null_device(&null).unwrap());
        assert!(!is_null_device(&zero).unwrap());
    }

    #[test]
    fn a_missing_file_says_so() {
        let error = open(c"/no/such/file", OFlags::RDONLY).unwrap_err();
        assert_eq!((error.call, error.errno.0), ("open", libc::ENOENT));
    }

    #[test]
    fn open_files_become_close_on_exec() {
        let file = std::fs::File::open("/dev/null").unwrap();
        rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).unwrap();
        close_on_exec_from(file.as_raw_fd().cast_unsigned()).unwrap();
        assert!(rustix::io::fcntl_getfd(&file).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    }
}
