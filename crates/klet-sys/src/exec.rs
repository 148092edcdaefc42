//! Execution of programs (execve(2), execveat(2)) with vectors prepared in advance.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::error::{Errno, SysError};

/// A null-terminated vector of C strings, as exec takes it.
#[derive(Debug)]
pub struct Vector {
    strings: Vec<CString>,
    pointers: Vec<usize>,
}

impl Vector {
    /// Keeps the strings and lays out their addresses.
    #[must_use]
    pub fn new(strings: Vec<CString>) -> Self {
        // Addresses are kept as numbers so that the vector may be moved between threads; the
        // strings' heap blocks do not move with the `Vec`.
        let pointers = strings.iter().map(|s| s.as_ptr() as usize).chain([0]).collect();
        Self { strings, pointers }
    }

    /// The strings.
    #[must_use]
    pub fn strings(&self) -> &[CString] {
        &self.strings
    }

    fn as_ptr(&self) -> *const *const libc::c_char {
        self.pointers.as_ptr().cast()
    }
}

/// Replaces the calling process's program; returns only the failure.
#[must_use]
pub fn execute(path: &CStr, arguments: &Vector, environment: &Vector) -> SysError {
    // SAFETY: the path is a C string, both vectors are null-terminated arrays of live C strings.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    SysError { call: "execve", object: String::new(), errno: Errno::last() }
}

/// Replaces the calling process's program by an open file, a memfd for example.
#[must_use]
pub fn execute_file(program: BorrowedFd<'_>, arguments: &Vector, environment: &Vector) -> SysError {
    // SAFETY: the path is an empty C string, both vectors are null-terminated arrays of live C strings.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            c"".as_ptr(),
            arguments.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    SysError { call: "execveat", object: String::new(), errno: Errno::last() }
}

/// Whether `path` names a program: `ENOENT` and the like if it is not there, `EACCES` for a
/// directory or a file nobody may execute. Root's right to read everything does not make a program.
///
/// # Errors
/// Those of stat(2), and `EACCES`.
pub fn probe(path: &CStr) -> Result<(), SysError> {
    let status =
        rustix::fs::stat(path).map_err(|errno| SysError::new("stat", errno.raw_os_error()))?;
    let is_directory = status.st_mode & libc::S_IFMT == libc::S_IFDIR;
    if is_directory || status.st_mode & 0o111 == 0 {
        return Err(SysError::new("access", libc::EACCES));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_told_from_other_files() {
        assert!(probe(c"/bin/sh").is_ok());
        let missing = probe(c"/no/such/cmd").unwrap_err();
        assert_eq!((missing.call, missing.errno.0), ("stat", libc::ENOENT));
        for path in [c"/etc/passwd", c"/etc"] {
            assert_eq!(probe(path).unwrap_err().errno.0, libc::EACCES);
        }
    }

    #[test]
    fn a_failed_exec_returns() {
        let empty = Vector::new(Vec::new());
        assert_eq!(execute(c"/no/such/cmd", &empty, &empty).errno.0, libc::ENOENT);
    }
}
