//! `build-images DIR`: the fixture images, from Debian's packages, as OCI archives in DIR.

mod archive;
mod debian;
mod rootfs;

use std::path::{Path, PathBuf};

use anyhow::Context;
use archive::Image;

fn main() -> anyhow::Result<()> {
    let directory = std::env::args_os().nth(1).context("usage: build-images DIR")?;
    let directory = PathBuf::from(directory);
    std::fs::create_dir_all(&directory)?;
    busybox(&directory)?;
    nginx(&directory)
}

/// An image that stands already is not built again.
fn missing(path: &Path) -> bool {
    !path.exists()
}

fn busybox(directory: &Path) -> anyhow::Result<()> {
    let path = directory.join("busybox.tar");
    if missing(&path) {
        let root = directory.join("build/busybox");
        rootfs::busybox(&debian::Packages::new(directory), &root)?;
        Image {
            name: "docker.io/library/busybox:latest",
            env: &["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            entrypoint: &[],
            cmd: &["sh"],
            stop_signal: None,
            ports: &[],
        }
        .write(&root, &path)?;
    }
    Ok(())
}

fn nginx(directory: &Path) -> anyhow::Result<()> {
    let path = directory.join("nginx.tar");
    if missing(&path) {
        let root = directory.join("build/nginx");
        rootfs::nginx(&debian::Packages::new(directory), &root)?;
        Image {
            name: "docker.io/library/nginx:latest",
            env: &["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            entrypoint: &["/docker-entrypoint.sh"],
            cmd: &["nginx", "-g", "daemon off;"],
            stop_signal: Some("SIGQUIT"),
            ports: &["80/tcp"],
        }
        .write(&root, &path)?;
    }
    Ok(())
}
