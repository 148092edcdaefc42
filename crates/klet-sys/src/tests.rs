//! Calls that change the process for good, tried in a child with namespaces of its own.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, OFlags};

use crate::clone::{Cloned, fork_like};
use crate::mount::{self, Attributes, FileSystem, attach};
use crate::node::{Device, make_device, make_directory, make_symlink};
use crate::pidfd::{Exit, wait};
use crate::{SysError, capability, fd, keyring, namespace, process, seccomp};

/// Runs `work` in a child with new `namespaces`; the child exits with the errno of its failure.
/// `work` must not allocate: another thread of the harness may hold the allocator's lock.
fn in_child(namespaces: i32, work: impl FnOnce() -> Result<(), SysError>) -> i32 {
    match fork_like(namespaces, None).unwrap() {
        Cloned::Child => match work() {
            Ok(()) => process::exit_now(0),
            Err(error) => process::exit_now(error.errno.0),
        },
        Cloned::Parent { pidfd, .. } => match wait(pidfd.as_fd()).unwrap() {
            Exit::Code(code) => code,
            Exit::Signal { signal, .. } => 1000 + signal,
        },
    }
}

fn truth(fact: bool) -> Result<(), SysError> {
    if fact { Ok(()) } else { Err(SysError::new("test", 255)) }
}

/// A tmpfs over `/proc`, which only the child sees.
fn scratch() -> Result<OwnedFd, SysError> {
    mount::make_all_slave()?;
    let scratch = FileSystem::open(c"tmpfs")?.mount(0)?;
    attach(&scratch, place(c"/proc")?)?;
    Ok(scratch)
}

fn place(path: &CStr) -> Result<OwnedFd, SysError> {
    fd::open(path, OFlags::PATH)
}

#[test]
fn a_child_is_the_first_of_a_new_process_namespace() {
    assert_eq!(in_child(libc::CLONE_NEWPID, || truth(std::process::id() == 1)), 0);
    assert_eq!(fork_like(libc::CLONE_THREAD, None).unwrap_err().errno.0, libc::EINVAL);
}

#[test]
fn what_is_no_cgroup_cannot_be_cloned_into() {
    let directory = place(c"/").unwrap();
    assert_eq!(fork_like(0, Some(directory.as_fd())).unwrap_err().errno.0, libc::EBADF);
}

#[test]
fn namespaces_are_made_and_joined() {
    let own = fd::open(c"/proc/thread-self/ns/uts", OFlags::RDONLY).unwrap();
    let parent = crate::pidfd::open(std::process::id() as i32).unwrap();
    let work = || {
        namespace::unshare(libc::CLONE_NEWUTS)?;
        process::set_host_name(b"inside")?;
        namespace::join(&own)?;
        namespace::join_process(parent.as_fd(), libc::CLONE_NEWUTS | libc::CLONE_NEWIPC)
    };
    assert_eq!(in_child(0, work), 0);
    assert_ne!(nix::unistd::gethostname().unwrap(), "inside");
    assert_eq!(in_child(0, || namespace::unshare(1)), libc::EINVAL);
    assert_eq!(in_child(0, || namespace::join(&parent)), libc::EINVAL);
    assert_eq!(in_child(libc::CLONE_NEWUTS, || process::set_host_name(&[b'x'; 65])), libc::EINVAL);
}

#[test]
fn mounts_are_made_attached_and_made_read_only() {
    let readonly = Attributes { set: libc::MOUNT_ATTR_RDONLY, ..Attributes::default() };
    let work = || {
        let scratch = scratch()?;
        make_directory(scratch.as_fd(), c"a", 0o755)?;
        let copy = mount::clone_tree(c"/proc", true)?;
        mount::set_attributes(copy.as_fd(), readonly, true)?;
        attach(&copy, place(c"/proc/a")?)?;
        let second = mount::clone_tree_at(place(c"/proc/a")?, false)?;
        let refused = make_directory(second.as_fd(), c"b", 0o755);
        truth(refused.is_err_and(|error| error.errno.0 == libc::EROFS))?;
        mount::detach(c"/proc/a")?;
        make_directory(scratch.as_fd(), c"b", 0o755)
    };
    assert_eq!(in_child(libc::CLONE_NEWNS, work), 0);
}

#[test]
fn mount_calls_say_what_is_wrong() {
    assert_eq!(FileSystem::open(c"nosuchfs").unwrap_err().errno.0, libc::ENODEV);
    let tmpfs = FileSystem::open(c"tmpfs").unwrap();
    assert_eq!(tmpfs.set(c"nosuch", c"1").unwrap_err().errno.0, libc::EINVAL);
    assert_eq!(tmpfs.set_flag(c"nosuch").unwrap_err().errno.0, libc::EINVAL);
    assert_eq!(mount::clone_tree(c"/no/such", false).unwrap_err().errno.0, libc::ENOENT);
    let readonly = Attributes { set: libc::MOUNT_ATTR_RDONLY, ..Attributes::default() };
    let no_mount = || mount::set_attributes(place(c"/etc/passwd")?.as_fd(), readonly, false);
    assert_eq!(in_child(libc::CLONE_NEWNS, no_mount), libc::EINVAL);
    assert_eq!(in_child(libc::CLONE_NEWNS, || mount::detach(c"/etc")), libc::EINVAL);
}

#[test]
fn a_new_root_replaces_the_old_one() {
    let work = || {
        let scratch = scratch()?;
        make_directory(scratch.as_fd(), c"only", 0o755)?;
        process::change_directory_to(&scratch)?;
        process::pivot_root_here()?;
        mount::detach(c".")?;
        process::change_directory(c"/")?;
        process::verify_directory_is_reachable()?;
        place(c"/only")?;
        truth(place(c"/etc").is_err_and(|error| error.errno.0 == libc::ENOENT))
    };
    assert_eq!(in_child(libc::CLONE_NEWNS, work), 0);
    let not_a_mount = || {
        process::change_directory(c"/etc")?;
        process::pivot_root_here()
    };
    assert_eq!(in_child(libc::CLONE_NEWNS, not_a_mount), libc::EBUSY);
}

#[test]
fn a_directory_outside_the_root_is_told() {
    let outside = place(c"/").unwrap();
    let work = || {
        let scratch = scratch()?;
        process::change_directory_to(&scratch)?;
        process::pivot_root_here()?;
        mount::detach(c".")?;
        process::change_directory_to(&outside)?;
        process::verify_directory_is_reachable()
    };
    assert_eq!(in_child(libc::CLONE_NEWNS, work), libc::ENOENT);
}

#[test]
fn nodes_and_links_are_made_once() {
    let null = Device { kind: FileType::CharacterDevice, mode: 0o666, major: 1, minor: 3 };
    let work = || {
        let scratch = scratch()?;
        make_device(scratch.as_fd(), c"null", null)?;
        truth(fd::is_null_device(fd::open(c"/proc/null", OFlags::RDWR)?)?)?;
        make_symlink(c"null", scratch.as_fd(), c"link")?;
        crate::node::change_owner(scratch.as_fd(), c"link", 5, 6)?;
        truth(
            make_symlink(c"x", scratch.as_fd(), c"link")
                .is_err_and(|error| error.errno.0 == libc::EEXIST),
        )?;
        make_device(scratch.as_fd(), c"null", null)
    };
    assert_eq!(in_child(libc::CLONE_NEWNS, work), libc::EEXIST);
}

#[test]
fn a_user_without_privileges_stays_one() {
    let work = || {
        process::new_session()?;
        process::set_no_new_privileges()?;
        capability::bound(capability::Set(1))?;
        process::keep_capabilities(true)?;
        process::set_groups(&[])?;
        process::set_group(1000)?;
        process::set_user(1000)?;
        let only = capability::Set(1);
        capability::set(capability::Sets { effective: only, permitted: only, inheritable: only })?;
        capability::set_ambient(only)?;
        truth(capability::get()?.effective == only)?;
        truth(capability::set_ambient(capability::Set(2)).is_err())?;
        process::set_user(0)
    };
    assert_eq!(in_child(0, work), libc::EPERM);
    let leader = || {
        process::new_session()?;
        process::new_session()
    };
    assert_eq!(in_child(0, leader), libc::EPERM);
}

#[test]
fn a_filter_answers_for_the_kernel() {
    let statement = |code: u32, jt, k| libc::sock_filter { code: code as u16, jt, jf: 0, k };
    let refuse = libc::SECCOMP_RET_ERRNO | libc::EDOM as u32;
    let program = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, libc::SYS_setsid as u32),
        statement(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
        statement(libc::BPF_RET | libc::BPF_K, 0, refuse),
    ];
    let work = || {
        process::set_no_new_privileges()?;
        seccomp::load(&program, 0)?;
        process::new_session()
    };
    assert_eq!(in_child(0, work), libc::EDOM);
}

#[test]
fn a_keyring_is_joined() {
    assert_eq!(in_child(0, keyring::join_new_session), 0);
}

#[test]
fn small_process_attributes_are_set() {
    let work = || {
        process::set_umask(0o077);
        process::set_dumpable(false)?;
        process::become_subreaper()?;
        process::set_domain_name(b"domain")?;
        process::change_directory(c"/no/such")
    };
    assert_eq!(in_child(libc::CLONE_NEWUTS, work), libc::ENOENT);
}
