//! Compiles the specs for the host: every mirror counts as known, since this code never runs in a kernel. Assembles the module's
//! thunks for the tests that read them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, process};

fn main() {
    let root =
        PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../..");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let specs = root.join("specs");
    println!("cargo::rustc-check-cfg=cfg(synthjit_forced_faults)");
    println!("cargo::rustc-check-cfg=cfg(synthjit_ops)");
    println!("cargo::rustc-cfg=synthjit_ops");
    println!("cargo::rerun-if-changed={}", specs.display());
    match specc::generate(&specs, &out, None) {
        Ok(report) => println!("cargo::rustc-env=SYNTHJIT_SPECS={}", report.rust.display()),
        Err(error) => {
            eprintln!("specs: {error}");
            process::exit(1);
        }
    }
    thunks(&root, &out.join("entry.o"));
}

/// Assembles `rust/glue/entry.S` with what the tests have in the place of the kernel's headers, and links it into the tests.
fn thunks(root: &Path, object: &Path) {
    let source = root.join("rust/glue/entry.S");
    let prelude = root.join("rust/host/tests/engine/thunks.h");
    for file in [&source, &prelude] {
        println!("cargo::rerun-if-changed={}", file.display());
    }
    let text = fs::read_to_string(&source).expect("the thunks");
    let without_headers: String = text
        .lines()
        .filter(|line| !line.starts_with("#include"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let input = object.with_extension("S");
    fs::write(&input, without_headers).expect("OUT_DIR is writable");
    let assembled = Command::new("cc")
        .arg("-include")
        .arg(prelude)
        .arg("-c")
        .arg(&input)
        .arg("-o")
        .arg(object)
        .status();
    match assembled {
        Ok(status) if status.success() => {
            println!("cargo::rustc-link-arg-tests={}", object.display());
        }
        other => {
            eprintln!("{}: {other:?}", source.display());
            process::exit(1);
        }
    }
}
