//! Steps that concern the process: namespaces, names, streams, limits, privileges, the program.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

use klet_sys::capability::{self, Set, Sets};
use klet_sys::exec::{execute, execute_file, probe};
use klet_sys::in_root::open_beneath;
use klet_sys::limits::{self, Limit};
use klet_sys::mount::FileSystem;
use klet_sys::{SysError, fd, keyring, namespace, process, pty, seccomp, signal};
use rustix::fs::OFlags;

use super::{Child, Done};
use crate::handshake;
use crate::input::Stdio;
use crate::plan::CapabilitySets;
use crate::prepare::{Op, Program, Streams};

/// Lowering the adjustment needs CAP_SYS_RESOURCE; without it the caller's own stays in force.
pub(super) fn oom_score_adj(value: &[u8]) -> Result<Done, SysError> {
    let file = fd::open(c"/proc/self/oom_score_adj", OFlags::WRONLY)?;
    match process::write_once(file.as_fd(), value) {
        Err(error) if matches!(error.errno.0, libc::EACCES | libc::EPERM) => Ok(Done::Less(error)),
        other => other.map(|()| Done::Well),
    }
}

pub(super) fn resource_limit(limit: Limit) -> Result<Done, SysError> {
    Ok(if limits::set_clamped(limit)? {
        Done::Well
    } else {
        Done::Less(SysError::new("prlimit", libc::EPERM))
    })
}

impl<'a> Child<'a> {
    pub(super) fn namespaces(&mut self, op: &'a Op) -> Result<(), SysError> {
        match op {
            Op::EnterTasks(files) => {
                files.iter().try_for_each(|file| process::write_once(file.as_fd(), b"0"))
            }
            Op::JoinProcess(pidfd, flags) => namespace::join_process(pidfd.as_fd(), *flags),
            Op::JoinNamespace(file) => namespace::join(file),
            Op::Unshare(flags) => namespace::unshare(*flags),
            Op::HostName(name) => process::set_host_name(name),
            Op::DomainName(name) => process::set_domain_name(name),
            Op::Sysctl(name, value) => self.sysctl(name, value),
            _ => Ok(()),
        }
    }

    /// Through a procfs of our own that lies nowhere: a volume over `/proc` cannot redirect the write
    /// (CVE-2025-52881).
    fn sysctl(&mut self, name: &CStr, value: &[u8]) -> Result<(), SysError> {
        if self.procfs.is_none() {
            self.procfs = Some(FileSystem::open(c"proc")?.mount(0)?);
        }
        let Some(procfs) = &self.procfs else { return Ok(()) };
        let file = open_beneath(procfs.as_fd(), name, OFlags::WRONLY)?;
        process::write_once(file.as_fd(), value)
    }

    pub(super) fn process(&mut self, op: &'a Op) -> Result<(), SysError> {
        match op {
            Op::StandardStreams => self.standard_streams(),
            Op::NewKeyring => {
                // Keyrings are extra protection: without the feature or the quota the container runs.
                let _ = keyring::join_new_session();
                Ok(())
            }
            Op::Umask(mask) => {
                process::set_umask(*mask);
                Ok(())
            }
            Op::NoNewPrivileges => process::set_no_new_privileges(),
            Op::Bound(set) => capability::bound(*set),
            Op::User { user, group, groups } => {
                process::keep_capabilities(true)?;
                process::set_groups(groups)?;
                process::set_group(*group)?;
                process::set_user(*user)
            }
            Op::Capabilities(sets) => set_capabilities(*sets),
            Op::WorkingDirectory(path) => {
                process::change_directory(path)?;
                process::verify_directory_is_reachable()
            }
            Op::FindProgram(candidates) => self.find(candidates),
            Op::CleanUp => {
                fd::close_on_exec_from(3)?;
                signal::reset_for_exec()?;
                handshake::ready(self.report);
                Ok(())
            }
            Op::Seccomp(Some(filter)) => seccomp::load(filter.instructions(), filter.flags()),
            Op::Execute(program) => Err(self.execute(program)),
            _ => Ok(()),
        }
    }

    fn standard_streams(&self) -> Result<(), SysError> {
        process::new_session()?;
        match self.streams {
            Streams::Terminal(slave) => {
                pty::take_control(slave.as_fd())?;
                (0..3).try_for_each(|number| fd::duplicate_onto(slave.as_fd(), number))
            }
            Streams::Plain(Stdio { stdin, stdout, stderr }) => {
                match stdin {
                    Some(stdin) => fd::duplicate_onto(stdin.as_fd(), 0)?,
                    None => fd::duplicate_onto(own_null()?.as_fd(), 0)?,
                }
                fd::duplicate_onto(stdout.as_fd(), 1)?;
                fd::duplicate_onto(stderr.as_fd(), 2)
            }
        }
    }

    /// A name with a slash fails as its file does; a bare name was found nowhere.
    fn find(&mut self, candidates: &[CString]) -> Result<(), SysError> {
        let mut last = SysError::new("stat", libc::ENOENT);
        for (number, candidate) in candidates.iter().enumerate() {
            match probe(candidate) {
                Ok(()) => {
                    self.found = number;
                    return Ok(());
                }
                Err(error) => last = error,
            }
        }
        Err(if candidates.len() == 1 { last } else { SysError::new("stat", libc::ENOENT) })
    }

    fn execute(&self, program: &Program) -> SysError {
        if let Some(image) = &program.image {
            return execute_file(image.as_fd(), &program.arguments, &program.environment);
        }
        let found = self.prepared.ops.iter().find_map(|op| match op {
            Op::FindProgram(candidates) => candidates.get(self.found),
            _ => None,
        });
        match found {
            Some(path) => execute(path, &program.arguments, &program.environment),
            None => SysError::new("execve", libc::ENOENT),
        }
    }
}

/// The container's own null device; a descriptor of the host's stays outside.
fn own_null() -> Result<OwnedFd, SysError> {
    let null = fd::open(c"/dev/null", OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NOCTTY)?;
    if fd::is_null_device(&null)? {
        fd::above_standard_streams(null)
    } else {
        Err(SysError::new("open", libc::ENODEV))
    }
}

fn set_capabilities(sets: CapabilitySets) -> Result<(), SysError> {
    let CapabilitySets { effective, permitted, ambient, .. } = sets;
    capability::set(Sets { effective, permitted, inheritable: ambient })?;
    if ambient == Set(0) { Ok(()) } else { capability::set_ambient(ambient) }
}
