//! `build-images DIR`: the fixture images, from Debian's packages, as OCI archives in DIR.

mod archive;
mod debian;
mod program;
mod rootfs;

use std::path::{Path, PathBuf};

use anyhow::Context;
use archive::Image;

/// Docker's default search path.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn main() -> anyhow::Result<()> {
    let directory = std::env::args_os().nth(1).context("usage: build-images DIR")?;
    let directory = PathBuf::from(directory);
    std::fs::create_dir_all(&directory)?;
    busybox(&directory)?;
    nginx(&directory)?;
    fixture(&directory)?;
    stand_ins(&directory)
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
            env: &[PATH],
            entrypoint: &[],
            cmd: &["sh"],
            stop_signal: None,
            ports: &[],
            user: "",
        }
        .write(&root, &path)?;
    }
    Ok(())
}

fn nginx(directory: &Path) -> anyhow::Result<()> {
    let path = directory.join("nginx.tar");
    if missing(&path) {
        let root = directory.join("build/nginx");
        let packages = debian::Packages::new(directory);
        rootfs::nginx(&packages, &root)?;
        let version = packages.upstream_version("nginx")?;
        Image {
            name: "docker.io/library/nginx:latest",
            env: &[PATH, &format!("NGINX_VERSION={version}")],
            entrypoint: &["/docker-entrypoint.sh"],
            cmd: &["nginx", "-g", "daemon off;"],
            stop_signal: Some("SIGQUIT"),
            ports: &["80/tcp"],
            user: "",
        }
        .write(&root, &path)?;
    }
    Ok(())
}

/// Written every time: its source may have changed, and it is small.
fn fixture(directory: &Path) -> anyhow::Result<()> {
    let root = directory.join("build/fixture");
    rootfs::fixture(&program::build("fixture")?, &root)?;
    Image {
        name: "docker.io/klet/fixture:latest",
        env: &[PATH],
        entrypoint: &["/bin/fixture"],
        cmd: &["serve", "--http", "8080"],
        stop_signal: None,
        ports: &["8080/tcp"],
        user: "",
    }
    .write(&root, &directory.join("fixture.tar"))
}

/// What the oracle's cases run beside busybox: an image with a user of its own, and the part of
/// Kubernetes' test program that they need.
fn stand_ins(directory: &Path) -> anyhow::Result<()> {
    let path = directory.join("nonroot.tar");
    if missing(&path) {
        let root = directory.join("build/nonroot");
        rootfs::busybox(&debian::Packages::new(directory), &root)?;
        Image {
            name: "docker.io/klet/nonroot:latest",
            env: &[PATH],
            entrypoint: &[],
            cmd: &["sh"],
            stop_signal: None,
            ports: &[],
            user: "1234",
        }
        .write(&root, &path)?;
    }
    let root = directory.join("build/agnhost");
    rootfs::agnhost(&debian::Packages::new(directory), &program::build("fixture")?, &root)?;
    Image {
        name: "docker.io/klet/agnhost:latest",
        env: &[PATH],
        entrypoint: &["/agnhost"],
        cmd: &["pause"],
        stop_signal: None,
        ports: &[],
        user: "",
    }
    .write(&root, &directory.join("agnhost.tar"))
}
