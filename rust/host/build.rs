//! Compiles the specs for the host: every mirror counts as known, since this code never runs in a kernel.

use std::path::PathBuf;
use std::{env, process};

fn main() {
    let root =
        PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../..");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let specs = root.join("specs");
    println!("cargo::rustc-check-cfg=cfg(synthjit_forced_faults)");
    println!("cargo::rustc-check-cfg=cfg(synthjit_verbs)");
    println!("cargo::rustc-cfg=synthjit_verbs");
    println!("cargo::rerun-if-changed={}", specs.display());
    match specc::generate(&specs, &out, None) {
        Ok(report) => println!("cargo::rustc-env=SYNTHJIT_SPECS={}", report.rust.display()),
        Err(error) => {
            eprintln!("specs: {error}");
            process::exit(1);
        }
    }
}
