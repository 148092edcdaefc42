//! From an OCI seccomp profile to a classic BPF program.
//!
//! The program is a balanced binary search over system call numbers: loading a
//! filter makes the kernel evaluate it for every number once, so a tree loads several
//! times faster than a list. Calls of a foreign ABI (i386, x32) and calls newer than
//! any the profile names answer `ENOSYS`, because libraries fall back on that and
//! break on `EPERM` (runc and libseccomp do the same).

mod assemble;
mod syscalls;

use std::collections::BTreeMap;

use libc::sock_filter;
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSyscall};

use assemble::{Leaf, Rule};

/// A profile that cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SeccompError {
    #[error("seccomp action {0:?} is not supported")]
    Action(LinuxSeccompAction),
    #[error("seccomp rule for {syscall} names argument {index}; arguments are 0 to 5")]
    Argument { syscall: String, index: usize },
    #[error("seccomp flags and listeners are not supported")]
    Listener,
    #[error("seccomp program of {0} instructions exceeds the kernel's limit of {MAX}", MAX = libc::BPF_MAXINSNS)]
    TooLong(usize),
}

/// A compiled filter, ready to be loaded with `seccomp(2)`.
#[derive(Debug, Clone)]
pub struct Program(Vec<sock_filter>);

impl Program {
    /// The instructions, in the kernel's layout.
    #[must_use]
    pub fn instructions(&self) -> &[sock_filter] {
        &self.0
    }
}

/// A compiled profile and how it is loaded: made once for a container and all execs in it.
#[derive(Debug, Clone)]
pub struct Filter {
    program: Program,
    flags: u32,
}

impl Filter {
    /// Compiles a profile.
    ///
    /// # Errors
    /// As [`compile`].
    pub fn compile(profile: &LinuxSeccomp) -> Result<Self, SeccompError> {
        Ok(Self { program: compile(profile)?, flags: flags(profile) })
    }

    /// The instructions, in the kernel's layout.
    #[must_use]
    pub fn instructions(&self) -> &[sock_filter] {
        self.program.instructions()
    }

    /// `SECCOMP_FILTER_FLAG_*`.
    #[must_use]
    pub fn flags(&self) -> u32 {
        self.flags
    }
}

fn flags(profile: &LinuxSeccomp) -> u32 {
    use oci_spec::runtime::LinuxSeccompFilterFlag as Flag;
    let flags = profile.flags().as_deref().unwrap_or_default();
    let bits = flags.iter().map(|flag| match flag {
        Flag::SeccompFilterFlagLog => libc::SECCOMP_FILTER_FLAG_LOG,
        Flag::SeccompFilterFlagSpecAllow => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
        // One thread needs no synchronisation, and WAIT_KILLABLE_RECV belongs to listeners.
        _ => 0,
    });
    bits.fold(0, |all, bit| all | bit as u32)
}

/// Compiles a profile for the architecture klet runs on.
///
/// Names that this architecture does not know are skipped: profiles list the calls of all.
///
/// # Errors
/// Unsupported actions or listeners, argument numbers above 5, a program too long for the kernel.
pub fn compile(profile: &LinuxSeccomp) -> Result<Program, SeccompError> {
    if profile.listener_path().is_some() {
        return Err(SeccompError::Listener);
    }
    let default = action(profile.default_action(), profile.default_errno_ret())?;
    let mut leaves: BTreeMap<u32, Leaf> = BTreeMap::new();
    let mut highest = 0;
    for rule in profile.syscalls().iter().flatten() {
        let verdict = action(rule.action(), rule.errno_ret())?;
        for name in rule.names() {
            let Some(number) = syscalls::number(name) else { continue };
            highest = highest.max(number);
            if verdict != default {
                merge(leaves.entry(number).or_default(), rule, name, verdict)?;
            }
        }
    }
    let program = assemble::program(&leaves, default, highest);
    if program.len() > libc::BPF_MAXINSNS as usize {
        return Err(SeccompError::TooLong(program.len()));
    }
    Ok(Program(program))
}

/// Adds one rule to what is known of a system call. Rules without conditions win over
/// conditional ones whatever their order, as with libseccomp.
fn merge(
    leaf: &mut Leaf,
    rule: &LinuxSyscall,
    name: &str,
    verdict: u32,
) -> Result<(), SeccompError> {
    let conditions: Vec<LinuxSeccompArg> = rule.args().clone().unwrap_or_default();
    if let Some(bad) = conditions.iter().find(|condition| condition.index() > 5) {
        return Err(SeccompError::Argument { syscall: name.to_owned(), index: bad.index() });
    }
    if conditions.is_empty() {
        leaf.always = Some(verdict);
    } else {
        leaf.rules.push(Rule { conditions, verdict });
    }
    Ok(())
}

/// An action as the filter's return value (`seccomp(2)`).
fn action(action: LinuxSeccompAction, errno: Option<u32>) -> Result<u32, SeccompError> {
    let data = errno.unwrap_or(libc::EPERM as u32) & libc::SECCOMP_RET_DATA;
    match action {
        LinuxSeccompAction::ScmpActAllow => Ok(libc::SECCOMP_RET_ALLOW),
        LinuxSeccompAction::ScmpActErrno => Ok(libc::SECCOMP_RET_ERRNO | data),
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => {
            Ok(libc::SECCOMP_RET_KILL_THREAD)
        }
        LinuxSeccompAction::ScmpActKillProcess => Ok(libc::SECCOMP_RET_KILL_PROCESS),
        LinuxSeccompAction::ScmpActTrap => Ok(libc::SECCOMP_RET_TRAP),
        LinuxSeccompAction::ScmpActLog => Ok(libc::SECCOMP_RET_LOG),
        LinuxSeccompAction::ScmpActTrace => Ok(libc::SECCOMP_RET_TRACE | data),
        LinuxSeccompAction::ScmpActNotify => Err(SeccompError::Action(action)),
    }
}

#[cfg(test)]
mod tests;
