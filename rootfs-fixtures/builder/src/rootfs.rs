//! The root file systems of the fixture images.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use anyhow::Context;

use crate::debian::Packages;

/// Shared libraries of Debian's nginx, and what they need.
const NGINX_PACKAGES: &[&str] =
    &["nginx", "nginx-common", "libc6", "libcrypt1", "libpcre2-8-0", "libssl3", "zlib1g"];

fn make(root: &Path, directories: &[&str]) -> anyhow::Result<()> {
    for directory in directories {
        fs::create_dir_all(root.join(directory))?;
    }
    Ok(())
}

fn skeleton(root: &Path) -> anyhow::Result<()> {
    if root.exists() {
        fs::remove_dir_all(root)?;
    }
    make(
        root,
        &["bin", "dev", "etc", "home", "proc", "root", "run", "sys", "tmp", "usr/share", "var/log"],
    )?;
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    let passwd = "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/bin/false\n\
        nobody:x:65534:65534:nobody:/home:/bin/false\n";
    fs::write(root.join("etc/passwd"), passwd)?;
    fs::write(root.join("etc/group"), "root:x:0:\nwww-data:x:33:\nnobody:x:65534:\n")?;
    Ok(())
}

/// One static program under all its names.
pub(crate) fn busybox(packages: &Packages, root: &Path) -> anyhow::Result<()> {
    skeleton(root)?;
    add_busybox(packages, root)
}

fn add_busybox(packages: &Packages, root: &Path) -> anyhow::Result<()> {
    let unpacked = root.with_extension("deb");
    packages.unpack("busybox-static", &unpacked)?;
    let program = ["bin/busybox", "usr/bin/busybox"].map(|path| unpacked.join(path));
    let program =
        program.iter().find(|path| path.is_file()).context("no busybox in its package")?;
    let list = Command::new(program).arg("--list").output()?;
    fs::copy(program, root.join("bin/busybox"))?;
    for applet in String::from_utf8_lossy(&list.stdout).lines().filter(|name| *name != "busybox") {
        let link = root.join("bin").join(applet);
        if !link.exists() {
            symlink("busybox", link)?;
        }
    }
    fs::remove_dir_all(unpacked)?;
    Ok(())
}

/// nginx with its libraries, a shell beside it, logging to its standard output.
pub(crate) fn nginx(packages: &Packages, root: &Path) -> anyhow::Result<()> {
    skeleton(root)?;
    for package in NGINX_PACKAGES {
        packages.unpack(package, root)?;
    }
    // Debian keeps manuals and locales in these: nothing that a server reads.
    for useless in
        ["usr/share/doc", "usr/share/man", "usr/share/lintian", "usr/lib/x86_64-linux-gnu/gconv"]
    {
        let path = root.join(useless);
        if path.exists() {
            fs::remove_dir_all(path)?;
        }
    }
    add_busybox(packages, root)?;
    make(root, &["var/lib/nginx", "var/log/nginx", "usr/share/nginx/html", "run"])?;
    for (log, device) in [("access.log", "/dev/stdout"), ("error.log", "/dev/stderr")] {
        let link = root.join("var/log/nginx").join(log);
        let _ = fs::remove_file(&link);
        symlink(device, link)?;
    }
    let page = "<!DOCTYPE html><title>Welcome to nginx!</title><h1>Welcome to nginx!</h1>\n";
    fs::write(root.join("usr/share/nginx/html/index.html"), page)?;
    let config = "user www-data;\nworker_processes 1;\npid /run/nginx.pid;\nerror_log /var/log/nginx/error.log;\n\
        events { worker_connections 256; }\nhttp {\n  include /etc/nginx/mime.types;\n  access_log /var/log/nginx/access.log;\n  \
        server { listen 80; root /usr/share/nginx/html; index index.html; }\n}\n";
    fs::write(root.join("etc/nginx/nginx.conf"), config)?;
    let entry = root.join("docker-entrypoint.sh");
    fs::write(&entry, "#!/bin/sh\nexec \"$@\"\n")?;
    fs::set_permissions(entry, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// The test workload alone: it needs nothing beside it.
pub(crate) fn fixture(program: &Path, root: &Path) -> anyhow::Result<()> {
    skeleton(root)?;
    let target = root.join("bin/fixture");
    fs::copy(program, &target).with_context(|| format!("cannot copy {}", program.display()))?;
    fs::set_permissions(target, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// The test workload under the name of Kubernetes' own, with a shell beside it.
pub(crate) fn agnhost(packages: &Packages, program: &Path, root: &Path) -> anyhow::Result<()> {
    busybox(packages, root)?;
    let target = root.join("agnhost");
    fs::copy(program, &target).with_context(|| format!("cannot copy {}", program.display()))?;
    fs::set_permissions(target, fs::Permissions::from_mode(0o755))?;
    Ok(())
}
