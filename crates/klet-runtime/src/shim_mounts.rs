//! The mount namespace of a pod's supervisor.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use klet_sys::mount::{FileSystem, attach, make_all_slave};
use klet_sys::{SysError, fd, namespace};
use rustix::fs::OFlags;

use crate::error::StartError;

/// Gives the caller a mount namespace that receives the host's mounts and passes none on, with the
/// pod's shared memory, a tmpfs of `shm_bytes`, at `shm_path` (an existing directory).
///
/// The tmpfs is seen by nobody else and ends with the namespace, however the caller ends. Returned is
/// the namespace left behind, the host's: what containers share with it is taken from there.
///
/// # Errors
/// [`StartError`] with the call that failed.
pub fn prepare_shim_mounts(shm_path: &Path, shm_bytes: u64) -> Result<OwnedFd, StartError> {
    mount(shm_path, shm_bytes)
        .map_err(|error| StartError::prepare(error.on(shm_path.to_string_lossy())))
}

fn mount(shm_path: &Path, shm_bytes: u64) -> Result<OwnedFd, SysError> {
    let invalid = |_| SysError::new("open", libc::EINVAL);
    let path = CString::new(shm_path.as_os_str().as_bytes()).map_err(invalid)?;
    let size = CString::new(shm_bytes.to_string()).map_err(invalid)?;
    let host = fd::open(c"/proc/thread-self/ns/mnt", OFlags::RDONLY)?;
    namespace::unshare(libc::CLONE_NEWNS)?;
    make_all_slave()?;
    let memory = FileSystem::open(c"tmpfs")?;
    memory.set(c"size", &size)?;
    memory.set(c"mode", c"1777")?;
    let memory =
        memory.mount(libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC)?;
    attach(memory, fd::open(&path, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW)?)?;
    Ok(host)
}
