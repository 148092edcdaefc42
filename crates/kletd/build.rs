//! Builds the static shim that kletd carries inside itself.
//!
//! The shim needs other settings than kletd (static, abort on panic, small), so it is built by a
//! cargo of its own into a directory of its own. `KLET_SHIM_BINARY` in the environment names a
//! ready one instead.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=KLET_SHIM_BINARY");
    let binary = match env::var_os("KLET_SHIM_BINARY") {
        Some(given) => PathBuf::from(given),
        None => build(),
    };
    println!("cargo::rustc-env=KLET_SHIM_BINARY={}", binary.display());
}

fn build() -> PathBuf {
    let manifest = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let workspace = manifest.ancestors().nth(2).expect("crates/kletd is two levels deep");
    for name in ["klet-shim", "klet-runtime", "klet-cgroup", "klet-cri", "klet-sys"] {
        println!("cargo::rerun-if-changed={}", workspace.join("crates").join(name).display());
    }
    let target = format!("{}-unknown-linux-gnu", variable("CARGO_CFG_TARGET_ARCH"));
    let directory = target_directory(workspace).join("shim");
    let status = Command::new(variable("CARGO"))
        .current_dir(workspace)
        .args(["build", "--locked", "--profile", "tiny", "-p", "klet-shim", "--target", &target])
        .arg("--target-dir")
        .arg(&directory)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("RUSTFLAGS", "-C target-feature=+crt-static -C relocation-model=static")
        .status()
        .expect("cargo can be executed");
    assert!(status.success(), "the shim does not build");
    directory.join(target).join("tiny").join("klet-shim")
}

/// Beside the profile directories of this build: `OUT_DIR` is `<target>/<profile>/build/<pkg>/out`.
fn target_directory(workspace: &Path) -> PathBuf {
    let out = PathBuf::from(variable("OUT_DIR"));
    out.ancestors().nth(4).map_or_else(|| workspace.join("target"), Path::to_path_buf)
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"))
}
