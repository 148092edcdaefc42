//! eBPF programs that decide about device access of a v2 cgroup (bpf(2)).

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::error::{SysError, check};

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_DETACH: libc::c_int = 9;
const BPF_PROG_GET_FD_BY_ID: libc::c_int = 13;
const BPF_PROG_QUERY: libc::c_int = 16;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 1 << 1;
const BPF_F_REPLACE: u32 = 1 << 2;

/// More programs than this on one cgroup are an error, not a list.
const QUERY_LIMIT: usize = 64;

/// The part of `union bpf_attr` that BPF_PROG_LOAD reads.
#[repr(C)]
struct LoadAttr {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    program_flags: u32,
}

/// The part of `union bpf_attr` that BPF_PROG_ATTACH and BPF_PROG_DETACH read.
#[repr(C)]
struct AttachAttr {
    target: u32,
    program: u32,
    attach_type: u32,
    flags: u32,
    replaced: u32,
}

/// The part of `union bpf_attr` that BPF_PROG_QUERY reads and writes.
#[repr(C)]
struct QueryAttr {
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    program_ids: u64,
    program_count: u32,
    padding: u32,
}

/// The part of `union bpf_attr` that BPF_PROG_GET_FD_BY_ID reads.
#[repr(C)]
struct IdAttr {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

/// Calls bpf(2) with the command's own attributes.
fn bpf<Attr>(
    call: &'static str,
    command: libc::c_int,
    attr: &mut Attr,
) -> Result<libc::c_long, SysError> {
    let attr: *mut Attr = attr;
    // SAFETY: `attr` is a live, repr(C) prefix of `union bpf_attr` of the size given, chosen by the
    // caller for this command; the kernel reads and writes at most that many bytes.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, attr, size_of::<Attr>()) };
    check(call, answer)
}

fn raw(file: BorrowedFd<'_>) -> u32 {
    file.as_raw_fd().cast_unsigned()
}

fn owned(descriptor: libc::c_long) -> OwnedFd {
    // SAFETY: the caller just got this descriptor from a successful bpf(2), so nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(descriptor as i32) }
}

/// Loads a BPF_PROG_TYPE_CGROUP_DEVICE program of 64-bit instructions.
///
/// # Errors
/// `EINVAL` or `EACCES` if the verifier refuses it, `EPERM` without CAP_BPF.
pub fn load_cgroup_device(instructions: &[u64]) -> Result<OwnedFd, SysError> {
    let mut attr = LoadAttr {
        program_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        instruction_count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buffer: 0,
        kernel_version: 0,
        program_flags: 0,
    };
    bpf("bpf(BPF_PROG_LOAD)", BPF_PROG_LOAD, &mut attr).map(owned)
}

/// Attaches a device program to a cgroup, in place of `replaced` if given, beside others otherwise.
///
/// # Errors
/// `EPERM` if an ancestor forbids it, `ENOENT` if `replaced` is not attached.
pub fn attach_device(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    replaced: Option<BorrowedFd<'_>>,
) -> Result<(), SysError> {
    let mut attr = AttachAttr {
        target: raw(cgroup),
        program: raw(program),
        attach_type: BPF_CGROUP_DEVICE,
        flags: BPF_F_ALLOW_MULTI | if replaced.is_some() { BPF_F_REPLACE } else { 0 },
        replaced: replaced.map_or(0, raw),
    };
    bpf("bpf(BPF_PROG_ATTACH)", BPF_PROG_ATTACH, &mut attr).map(drop)
}

/// Detaches a device program from a cgroup.
///
/// # Errors
/// `ENOENT` if it is not attached.
pub fn detach_device(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<(), SysError> {
    let mut attr = AttachAttr {
        target: raw(cgroup),
        program: raw(program),
        attach_type: BPF_CGROUP_DEVICE,
        flags: 0,
        replaced: 0,
    };
    bpf("bpf(BPF_PROG_DETACH)", BPF_PROG_DETACH, &mut attr).map(drop)
}

/// The device programs attached to this very cgroup (not to its ancestors).
///
/// # Errors
/// `ENOSPC` for more than 64, `EPERM`.
pub fn attached_device_programs(cgroup: BorrowedFd<'_>) -> Result<Vec<OwnedFd>, SysError> {
    let mut ids = [0u32; QUERY_LIMIT];
    let mut attr = QueryAttr {
        target: raw(cgroup),
        attach_type: BPF_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        program_ids: ids.as_mut_ptr() as u64,
        program_count: QUERY_LIMIT as u32,
        padding: 0,
    };
    bpf("bpf(BPF_PROG_QUERY)", BPF_PROG_QUERY, &mut attr)?;
    ids.iter().take(attr.program_count as usize).map(|id| program_by_id(*id)).collect()
}

fn program_by_id(id: u32) -> Result<OwnedFd, SysError> {
    let mut attr = IdAttr { id, next_id: 0, open_flags: 0 };
    bpf("bpf(BPF_PROG_GET_FD_BY_ID)", BPF_PROG_GET_FD_BY_ID, &mut attr).map(owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `r0 = 1; exit`
    const ALLOW_ALL: [u64; 2] = [0x0000_0001_0000_00b7, 0x0000_0000_0000_0095];

    #[test]
    fn a_program_loads() {
        load_cgroup_device(&ALLOW_ALL).unwrap();
    }

    #[test]
    fn a_program_without_an_end_is_refused() {
        let error = load_cgroup_device(&ALLOW_ALL[..1]).unwrap_err();
        assert_eq!((error.call, error.errno.0), ("bpf(BPF_PROG_LOAD)", libc::EINVAL));
    }
}
