//! Builds the shim as a static program of its own, so that it can be embedded in ours.
//!
//! The shim is not a subcommand of this program: it stays beside a job for hours, is copied into
//! containers later, and must keep running while this program is replaced.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"));
    let workspace = PathBuf::from(variable("CARGO_MANIFEST_DIR")).join("../..");
    for path in [
        "crates/shim/src",
        "crates/shim/stub",
        "crates/shim/Cargo.toml",
        "Cargo.toml",
        "Cargo.lock",
    ] {
        println!("cargo::rerun-if-changed={}", workspace.join(path).display());
    }
    let target = variable("TARGET");
    let out = PathBuf::from(variable("OUT_DIR")).join("shim");
    // A target folder of its own: the outer cargo holds the lock of the usual one.
    let status = Command::new(variable("CARGO"))
        .current_dir(&workspace)
        .args([
            "build",
            "--quiet",
            "--locked",
            "--package",
            "windlass-shim",
            "--bin",
        ])
        .args([
            "windlass-shim",
            "--profile",
            "shim",
            "--target",
            &target,
            "--target-dir",
        ])
        .arg(&out)
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("CARGO_BUILD_TARGET_DIR")
        .env_remove("CARGO_TARGET_DIR")
        .status();
    match status {
        Ok(status) if status.success() => {}
        other => panic!("the shim did not build ({other:?}); try `cargo build -p windlass-shim`"),
    }
    let program = out.join(&target).join("shim/windlass-shim");
    println!("cargo::rustc-env=WINDLASS_SHIM={}", program.display());

    // No crate of the workspace: it has no standard library, and needs no dependency.
    let starter = PathBuf::from(variable("OUT_DIR")).join("windlass-start");
    let status = Command::new(variable("RUSTC"))
        .arg(workspace.join("crates/shim/stub/stub.rs"))
        .args(["--edition", "2024", "--crate-name", "windlass_start"])
        .args(["--target", &target, "-Copt-level=s", "-Cpanic=abort"])
        .args(["-Cstrip=symbols", "-Crelocation-model=static"])
        .args(["-Clink-arg=-nostartfiles", "-Clink-arg=-nostdlib"])
        .args(["-Clink-arg=-static", "-Clink-arg=-Wl,--build-id=none"])
        .arg("-o")
        .arg(&starter)
        .status();
    match status {
        Ok(status) if status.success() => {}
        other => panic!("crates/shim/stub/stub.rs did not build ({other:?})"),
    }
    println!("cargo::rustc-env=WINDLASS_STARTER={}", starter.display());
}
