//! The few kernel settings of the host's network that the pod network needs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::NetError;

const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// Let the host forward packets. What it did before is kept in `state_dir`, once, so that it can be
/// put back when klet is removed.
pub(crate) fn enable_forwarding(state_dir: &Path) -> Result<(), NetError> {
    let setting = Path::new(FORWARDING);
    let before = fs::read_to_string(setting).map_err(NetError::file("read", setting))?;
    if before.trim() == "1" {
        return Ok(());
    }
    let memory = former(state_dir);
    if !memory.exists() {
        fs::write(&memory, &before).map_err(NetError::file("write", &memory))?;
    }
    fs::write(setting, "1").map_err(NetError::file("write", setting))
}

/// Put forwarding back to what it was before klet. Repeatable.
pub(crate) fn restore_forwarding(state_dir: &Path) -> Result<(), NetError> {
    let memory = former(state_dir);
    match fs::read_to_string(&memory) {
        Ok(before) => {
            let setting = Path::new(FORWARDING);
            fs::write(setting, before.trim()).map_err(NetError::file("write", setting))?;
            fs::remove_file(&memory).map_err(NetError::file("remove", &memory))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(NetError::file("read", &memory)(e)),
    }
}

/// Pods must not reconfigure the host: router advertisements are not accepted on the bridge.
/// A kernel without IPv6 has nothing to set.
pub(crate) fn ignore_router_advertisements(interface: &str) {
    let setting = Path::new("/proc/sys/net/ipv6/conf").join(interface).join("accept_ra");
    if let Err(error) = fs::write(&setting, "0")
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, setting = %setting.display(), "cannot turn off router advertisements");
    }
}

fn former(state_dir: &Path) -> PathBuf {
    state_dir.join("ip_forward.before")
}
