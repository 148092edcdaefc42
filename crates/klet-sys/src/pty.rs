//! Pseudo-terminals of a given devpts instance.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use crate::error::{Named, SysError, retry};
use crate::in_root::{Symlinks, open};

/// `DEVPTS_SUPER_MAGIC` of `<linux/magic.h>`.
const DEVPTS_MAGIC: u64 = 0x1cd1;

/// Both sides of a terminal.
#[derive(Debug)]
pub struct Terminal {
    /// The side of whoever drives the terminal.
    pub master: OwnedFd,
    /// The side of the programs in it.
    pub slave: OwnedFd,
}

/// Opens a new terminal of the devpts instance whose root directory is given.
///
/// # Errors
/// `ENODEV` if the directory is not a devpts, `ENOSPC` when its terminals are used up.
pub fn open_terminal(devpts: BorrowedFd<'_>) -> Result<Terminal, SysError> {
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    let master = open(devpts, c"ptmx", flags, Symlinks::Refused)?;
    if rustix::fs::fstatfs(&master).named("fstatfs")?.f_type as u64 != DEVPTS_MAGIC {
        return Err(SysError::new("open", libc::ENODEV).on("ptmx"));
    }
    rustix::pty::unlockpt(&master).named("ioctl(TIOCSPTLCK)")?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).named("ioctl(TIOCGPTPEER)")?;
    Ok(Terminal { master, slave })
}

/// Sets the size of the terminal; programs in it get SIGWINCH.
///
/// # Errors
/// `ENOTTY`.
pub fn set_size(terminal: BorrowedFd<'_>, columns: u16, rows: u16) -> Result<(), SysError> {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(terminal, size).named("ioctl(TIOCSWINSZ)")
}

/// Gives the terminal to the user, group tty (5), mode 0620, as grantpt(3) does.
///
/// # Errors
/// Those of fchown(2) and fchmod(2).
pub fn grant(slave: BorrowedFd<'_>, user: u32) -> Result<(), SysError> {
    crate::fd::change_owner(slave, user, Some(5))?;
    rustix::fs::fchmod(slave, Mode::from_raw_mode(0o620)).named("fchmod")
}

/// Makes the terminal the controlling one of the caller's session.
///
/// # Errors
/// `EPERM` if the caller does not lead a session or the terminal has one.
pub fn take_control(slave: BorrowedFd<'_>) -> Result<(), SysError> {
    retry(|| rustix::process::ioctl_tiocsctty(slave.as_fd()).named("ioctl(TIOCSCTTY)"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mount::FileSystem;

    fn devpts() -> OwnedFd {
        let file_system = FileSystem::open(c"devpts").unwrap();
        file_system.set(c"ptmxmode", c"0666").unwrap();
        file_system.mount(0).unwrap()
    }

    #[test]
    fn a_terminal_of_a_detached_devpts_works() {
        let devpts = devpts();
        let terminal = open_terminal(devpts.as_fd()).unwrap();
        set_size(terminal.master.as_fd(), 80, 25).unwrap();
        grant(terminal.slave.as_fd(), 1000).unwrap();
        let size = rustix::termios::tcgetwinsize(&terminal.slave).unwrap();
        assert_eq!((size.ws_col, size.ws_row), (80, 25));
        rustix::io::write(&terminal.slave, b"x").unwrap();
        let mut buffer = [0; 4];
        assert_eq!(crate::fd::read(&terminal.master, &mut buffer).unwrap(), 1);
    }

    #[test]
    fn another_file_system_is_refused() {
        let directory = crate::fd::open(c"/", OFlags::PATH).unwrap();
        assert_eq!(open_terminal(directory.as_fd()).unwrap_err().errno.0, libc::ENOENT);
        let null = crate::fd::open(c"/dev/null", OFlags::RDWR).unwrap();
        assert_eq!(set_size(null.as_fd(), 1, 1).unwrap_err().errno.0, libc::ENOTTY);
    }
}
