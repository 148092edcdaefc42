//! The API socket.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, bail};
use tokio::net::UnixListener;

/// Bytes of a socket's path (`sun_path` with its terminator, unix(7)).
const LONGEST: usize = 107;
/// What a pod's supervisor adds to the runtime directory: `/pods/<uid>/shim.sock.tmp`.
const SUPERVISOR: usize = "/pods//shim.sock.tmp".len() + 36;

/// Asks whether anybody answers there.
///
/// # Errors
/// Who does.
pub fn must_be_free(path: &Path) -> anyhow::Result<()> {
    if let Ok(stream) = UnixStream::connect(path) {
        let holder = klet_sys::socket::peer(&stream).map(|peer| peer.pid);
        let holder =
            holder.map_or_else(|_| "another process".to_owned(), |p| format!("process {p}"));
        bail!(
            "{holder} listens on {}: stop it, or choose another --run or --socket",
            path.display()
        );
    }
    Ok(())
}

/// Listens where only root may connect. A stale socket is replaced.
///
/// # Errors
/// The file system refuses.
pub fn listen(path: &Path) -> anyhow::Result<UnixListener> {
    let prepare = || -> std::io::Result<UnixListener> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(listener)
    };
    prepare().with_context(|| format!("cannot listen on {}", path.display()))
}

/// Will all sockets' paths be short enough for the kernel?
///
/// # Errors
/// Which is not.
pub fn check_lengths(run: &Path, socket: &Path) -> anyhow::Result<()> {
    let length = |path: &Path| path.as_os_str().as_bytes().len();
    let limit = LONGEST - SUPERVISOR;
    if length(run) > limit {
        bail!(
            "--run {} has {} bytes, at most {limit} leave room for the supervisors' sockets: choose a shorter one",
            run.display(),
            length(run)
        );
    }
    if length(socket) > LONGEST {
        bail!(
            "--socket {} has {} bytes, Linux takes at most {LONGEST}: choose a shorter one",
            socket.display(),
            length(socket)
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_measured() {
        let path = |bytes: usize| std::path::PathBuf::from(format!("/{}", "x".repeat(bytes - 1)));
        let limit = LONGEST - SUPERVISOR;
        assert!(check_lengths(&path(limit), &path(LONGEST)).is_ok());
        let error = check_lengths(&path(limit + 1), &path(9)).unwrap_err().to_string();
        assert!(error.contains("--run /xxx") && error.contains(&limit.to_string()), "{error}");
        assert!(check_lengths(&path(9), &path(LONGEST + 1)).is_err());
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/klet.sock");
        drop(listen(&path).unwrap());
        assert!(path.exists());
        must_be_free(&path).unwrap();
        let _live = listen(&path).unwrap();
        let error = must_be_free(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("process {} listens on", std::process::id())), "{error}");
    }
}
