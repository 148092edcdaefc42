//! Compiles the pause program for the target and leaves it in `OUT_DIR` for `include_bytes!`.

use std::env;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=pause/pause.rs");
    let variable = |name| env::var_os(name).expect("cargo sets it for build scripts");
    let output = PathBuf::from(variable("OUT_DIR")).join("pause");
    let status = Command::new(variable("RUSTC"))
        .args(["--edition=2024", "--crate-name=pause", "--crate-type=bin", "-O", "pause/pause.rs"])
        .args(["-Cpanic=abort", "-Cstrip=symbols", "-Crelocation-model=static"])
        .args(["-Clink-arg=-nostdlib", "-Clink-arg=-nostartfiles", "-Clink-arg=-static"])
        .args(["-Clink-arg=-Wl,--build-id=none", "-Clink-arg=-Wl,-z,norelro"])
        .arg("--target")
        .arg(variable("TARGET"))
        .arg("-o")
        .arg(&output)
        .status()
        .expect("the compiler that builds this crate can be executed");
    assert!(status.success(), "compiling pause/pause.rs failed: {status}");
}
