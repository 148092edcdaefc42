//! Programs of this workspace, built as static executables.

use std::env::consts::ARCH;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::debian::run;

/// Builds a package for an image that has no libraries; returns the executable.
pub(crate) fn build(package: &str) -> anyhow::Result<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = format!("{ARCH}-unknown-linux-gnu");
    let directory = workspace.join("target");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // With a target named, the flags do not reach build scripts, and other builds stay as they are.
    let mut command = Command::new(cargo);
    command
        .args([
            "build",
            "--locked",
            "--quiet",
            "--profile",
            "tiny",
            "--package",
            package,
            "--target",
            &target,
        ])
        .arg("--target-dir")
        .arg(&directory)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .current_dir(&workspace);
    run(&mut command).with_context(|| format!("cannot build {package}"))?;
    Ok(directory.join(target).join("tiny").join(package))
}
