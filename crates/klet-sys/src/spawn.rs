//! Starting a program from a multi-threaded process.
//!
//! Everything is laid out before the clone; the child makes async-signal-safe calls only and reports
//! a failure through a close-on-exec pipe, whose end without a word means that the program runs.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::clone::{Cloned, fork_like, vfork_like};
use crate::error::{Errno, SysError};
use crate::exec::{Vector, execute_file};
use crate::{fd, pidfd, process, signal};

/// The descriptor numbers from 0 that a program may be given.
const MAX_DESCRIPTORS: usize = 16;

/// A program to start, in a session of its own.
#[derive(Debug)]
pub struct Program<'a> {
    /// The image: an open executable or a memfd.
    pub image: BorrowedFd<'a>,
    /// `argv`.
    pub arguments: Vector,
    /// `envp`.
    pub environment: Vector,
    /// Become descriptors 0, 1, 2, … of the program, at most 16; all others are closed.
    pub descriptors: &'a [BorrowedFd<'a>],
    /// A v2 cgroup directory in which the program starts.
    pub cgroup: Option<BorrowedFd<'a>>,
}

/// A program that has been executed.
#[derive(Debug)]
pub struct Spawned {
    /// Its process number.
    pub pid: i32,
    /// A handle on the process; readable once it has ended. The caller reaps it.
    pub pidfd: OwnedFd,
}

/// Starts the program and returns once it is executed.
///
/// # Errors
/// The call of the parent or child that failed; no process is left behind.
pub fn spawn(program: &Program<'_>) -> Result<Spawned, SysError> {
    if program.descriptors.len() > MAX_DESCRIPTORS {
        return Err(SysError::new("spawn", libc::EINVAL));
    }
    let (reader, writer) = fd::pipe()?;
    let mask = signal::block_all()?;
    let begun = begin(program, writer.as_fd());
    signal::restore(&mask)?;
    drop(writer);
    let (pid, pidfd) = begun?;
    let mut errno = [0; 4];
    if fd::read(&reader, &mut errno)? == 0 {
        return Ok(Spawned { pid, pidfd });
    }
    pidfd::wait(pidfd.as_fd())?;
    Err(SysError {
        call: "execveat",
        object: String::new(),
        errno: Errno(i32::from_ne_bytes(errno)),
    })
}

/// Copying a large process costs milliseconds, so the child borrows this one's memory until it
/// executes; only clone3(2) can put it into a cgroup, and that copies.
fn begin(program: &Program<'_>, report: BorrowedFd<'_>) -> Result<(i32, OwnedFd), SysError> {
    let child = || {
        let error = run(program, report);
        let _ = process::write_once(report, &error.errno.0.to_ne_bytes());
    };
    if program.cgroup.is_none() {
        return vfork_like(child);
    }
    match fork_like(0, program.cgroup)? {
        Cloned::Parent { pid, pidfd } => Ok((pid, pidfd)),
        Cloned::Child => {
            child();
            process::exit_now(127)
        }
    }
}

/// The child's part; returns only a failure.
fn run(program: &Program<'_>, report: BorrowedFd<'_>) -> SysError {
    match place_descriptors(program, report) {
        Ok(()) => execute_file(program.image, &program.arguments, &program.environment),
        Err(error) => error,
    }
}

fn place_descriptors(program: &Program<'_>, report: BorrowedFd<'_>) -> Result<(), SysError> {
    process::new_session()?;
    // The image and the report must not lie where a descriptor goes, nor a descriptor where an
    // earlier one goes: all are first copied above the range, then put in place.
    let floor = program.descriptors.len() as i32;
    if program.image.as_raw_fd() < floor || report.as_raw_fd() < floor {
        return Err(SysError::new("spawn", libc::EBADF));
    }
    let mut copies: [Option<OwnedFd>; MAX_DESCRIPTORS] = [const { None }; MAX_DESCRIPTORS];
    for (copy, descriptor) in copies.iter_mut().zip(program.descriptors) {
        let duplicate = rustix::io::fcntl_dupfd_cloexec(descriptor, floor)
            .map_err(|errno| SysError::new("fcntl(F_DUPFD)", errno.raw_os_error()))?;
        *copy = Some(duplicate);
    }
    for (number, copy) in copies.iter().flatten().enumerate() {
        fd::duplicate_onto(copy.as_fd(), number as i32)?;
    }
    fd::close_on_exec_from(floor.cast_unsigned())?;
    signal::reset_for_exec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(words: &[&str]) -> Vector {
        Vector::new(words.iter().map(|word| std::ffi::CString::new(*word).unwrap()).collect())
    }

    #[test]
    fn a_program_runs_with_its_descriptors() {
        let image = fd::open(c"/bin/sh", rustix::fs::OFlags::PATH).unwrap();
        let null = fd::open(c"/dev/null", rustix::fs::OFlags::RDWR).unwrap();
        let (reader, writer) = fd::pipe().unwrap();
        let spawned = spawn(&Program {
            image: image.as_fd(),
            arguments: vector(&["sh", "-c", "echo $GREETING; exit 3"]),
            environment: vector(&["GREETING=hello"]),
            descriptors: &[null.as_fd(), writer.as_fd(), null.as_fd()],
            cgroup: None,
        })
        .unwrap();
        drop(writer);
        assert_eq!(pidfd::wait(spawned.pidfd.as_fd()).unwrap(), pidfd::Exit::Code(3));
        let mut buffer = [0; 16];
        let length = fd::read(&reader, &mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"hello\n");
    }

    #[test]
    fn what_is_no_program_is_an_error() {
        let image = fd::open(c"/etc/passwd", rustix::fs::OFlags::PATH).unwrap();
        let program = Program {
            image: image.as_fd(),
            arguments: vector(&["x"]),
            environment: vector(&[]),
            descriptors: &[],
            cgroup: None,
        };
        assert_eq!(spawn(&program).unwrap_err().errno.0, libc::EACCES);
    }
}
