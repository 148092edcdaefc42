//! The one error of every call: which call, on what, and the kernel's answer.

use std::ffi::CStr;
use std::fmt;

/// A kernel error number with the C library's text, as Go and the shell users know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

impl Errno {
    /// The calling thread's last error, as `libc` functions leave it.
    #[must_use]
    pub fn last() -> Self {
        Self(nix::errno::Errno::last_raw())
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0u8; 128];
        // SAFETY: the buffer is valid for writes of the length given; a longer text is cut.
        let answer = unsafe { libc::strerror_r(self.0, text.as_mut_ptr().cast(), text.len()) };
        let text = CStr::from_bytes_until_nul(&text).unwrap_or_default().to_string_lossy();
        if answer != 0 || text.is_empty() {
            return write!(f, "errno {}", self.0);
        }
        // Go's texts, and so runc's, are the C library's in lower case.
        f.write_str(&text[..1].to_ascii_lowercase())?;
        f.write_str(&text[1..])
    }
}

/// A failed call. Creating one without an object does not allocate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SysError {
    /// The system call, by its name in the manual.
    pub call: &'static str,
    /// What it was applied to; empty if the call has no nameable object.
    pub object: String,
    /// The kernel's answer.
    pub errno: Errno,
}

impl SysError {
    /// A failure of `call`.
    #[must_use]
    pub const fn new(call: &'static str, errno: i32) -> Self {
        Self { call, object: String::new(), errno: Errno(errno) }
    }

    /// The same failure, with the thing it was applied to.
    #[must_use]
    pub fn on(mut self, object: impl Into<String>) -> Self {
        self.object = object.into();
        self
    }
}

impl fmt::Display for SysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.object.is_empty() {
            write!(f, "{}: {}", self.call, self.errno)
        } else {
            write!(f, "{} {}: {}", self.call, self.object, self.errno)
        }
    }
}

impl std::error::Error for SysError {}

impl From<SysError> for std::io::Error {
    fn from(error: SysError) -> Self {
        Self::from_raw_os_error(error.errno.0)
    }
}

/// Names the call in the error of a library function.
pub(crate) trait Named<T> {
    /// Turns the library's error into ours.
    fn named(self, call: &'static str) -> Result<T, SysError>;
}

impl<T> Named<T> for rustix::io::Result<T> {
    fn named(self, call: &'static str) -> Result<T, SysError> {
        self.map_err(|errno| SysError::new(call, errno.raw_os_error()))
    }
}

impl<T> Named<T> for nix::Result<T> {
    fn named(self, call: &'static str) -> Result<T, SysError> {
        self.map_err(|errno| SysError::new(call, errno as i32))
    }
}

/// The result of a raw call that answers −1 and sets errno.
pub(crate) fn check(call: &'static str, answer: libc::c_long) -> Result<libc::c_long, SysError> {
    if answer < 0 {
        Err(SysError { call, object: String::new(), errno: Errno::last() })
    } else {
        Ok(answer)
    }
}

/// Repeats a call that a signal interrupted.
pub(crate) fn retry<T>(mut call: impl FnMut() -> Result<T, SysError>) -> Result<T, SysError> {
    loop {
        match call() {
            Err(error) if error.errno.0 == libc::EINTR => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_users_know() {
        for (errno, text) in [
            (libc::ENOENT, "no such file or directory"),
            (libc::EACCES, "permission denied"),
            (libc::ENOTDIR, "not a directory"),
            (libc::EPERM, "operation not permitted"),
            (libc::ELOOP, "too many levels of symbolic links"),
            (libc::ENOEXEC, "exec format error"),
            (libc::EINVAL, "invalid argument"),
        ] {
            assert_eq!(Errno(errno).to_string(), text);
        }
        assert_eq!(Errno(99999).to_string(), "errno 99999");
    }

    #[test]
    fn the_object_is_named_once() {
        assert_eq!(SysError::new("mkdirat", libc::EEXIST).to_string(), "mkdirat: file exists");
        assert_eq!(
            SysError::new("mkdirat", libc::EEXIST).on("/a").to_string(),
            "mkdirat /a: file exists"
        );
    }
}
