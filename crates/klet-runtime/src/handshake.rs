//! The pipe through which a child tells how its steps went.
//!
//! Each record fits one atomic write. The end of the pipe after `Record::Ready` means that the
//! program was executed (the write end is close-on-exec); an end before it means that the child was killed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use klet_sys::{Errno, SysError, fd, process};

const SIZE: usize = 48;
const NAME: usize = SIZE - 10;

const READY: u8 = 1;
const WARNING: u8 = 2;
const FAILURE: u8 = 3;

/// One step that went wrong, more or less.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    /// The step's number in the plan.
    pub(crate) step: usize,
    /// The call that failed.
    pub(crate) call: String,
    /// The kernel's answer.
    pub(crate) errno: Errno,
}

/// What a child told before the pipe ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// All steps but the exec were done.
    pub(crate) ready: bool,
    /// Steps that were not done to the letter.
    pub(crate) warnings: Vec<Report>,
    /// The step that ended the start.
    pub(crate) failure: Option<Report>,
}

/// Child's side; allocates nothing. A report that cannot be written is lost: the parent then sees
/// an end without [`READY`] and says so.
pub(crate) fn ready(pipe: BorrowedFd<'_>) {
    send(pipe, READY, 0, &SysError::new("", 0));
}

pub(crate) fn warn(pipe: BorrowedFd<'_>, step: usize, error: &SysError) {
    send(pipe, WARNING, step, error);
}

pub(crate) fn fail(pipe: BorrowedFd<'_>, step: usize, error: &SysError) {
    send(pipe, FAILURE, step, error);
}

fn send(pipe: BorrowedFd<'_>, kind: u8, step: usize, error: &SysError) {
    let mut record = [0u8; SIZE];
    let name = &error.call.as_bytes()[..error.call.len().min(NAME)];
    record[0] = kind;
    record[1] = name.len() as u8;
    record[2..6].copy_from_slice(&(step as u32).to_ne_bytes());
    record[6..10].copy_from_slice(&error.errno.0.to_ne_bytes());
    record[10..10 + name.len()].copy_from_slice(name);
    let _ = process::write_once(pipe, &record);
}

/// Parent's side: reads until the pipe ends.
pub(crate) fn receive(pipe: &OwnedFd) -> Result<Outcome, SysError> {
    let mut outcome = Outcome::default();
    let mut record = [0u8; SIZE];
    // Writes of less than PIPE_BUF are atomic and all are of one size, so records never come in parts.
    while fd::read(pipe.as_fd(), &mut record)? == SIZE {
        let number = |at: usize| [record[at], record[at + 1], record[at + 2], record[at + 3]];
        let name = &record[10..10 + usize::from(record[1]).min(NAME)];
        let report = Report {
            step: u32::from_ne_bytes(number(2)) as usize,
            call: String::from_utf8_lossy(name).into_owned(),
            errno: Errno(i32::from_ne_bytes(number(6))),
        };
        match record[0] {
            READY => outcome.ready = true,
            WARNING => outcome.warnings.push(report),
            _ => outcome.failure = Some(report),
        }
    }
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_arrive_as_sent() {
        let (reader, writer) = fd::pipe().unwrap();
        warn(writer.as_fd(), 3, &SysError::new("prlimit", libc::EPERM));
        ready(writer.as_fd());
        fail(writer.as_fd(), 70_000, &SysError::new("execve", libc::ENOEXEC));
        drop(writer);
        let outcome = receive(&reader).unwrap();
        assert!(outcome.ready);
        let report =
            |step, call: &str, errno| Report { step, call: call.to_owned(), errno: Errno(errno) };
        assert_eq!(outcome.warnings, [report(3, "prlimit", libc::EPERM)]);
        assert_eq!(outcome.failure, Some(report(70_000, "execve", libc::ENOEXEC)));
    }

    #[test]
    fn a_silent_end_is_not_ready() {
        let (reader, writer) = fd::pipe().unwrap();
        drop(writer);
        assert_eq!(receive(&reader).unwrap(), Outcome::default());
    }
}
