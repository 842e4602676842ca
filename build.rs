//! Embeds the kernels' PTX in the crate: prebuilt, or compiled here by nvcc.
//! The work is in `build/`, free of process state so that
//! `tests/build_script/main.rs` can drive it; this file feeds it the environment.

#[path = "build/mod.rs"]
mod toolchain;

use std::env;
use std::process::ExitCode;

use toolchain::{BuildError, Request};

fn main() -> ExitCode {
    match embed() {
        Ok(directives) => {
            for directive in directives {
                println!("{directive}");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            // cargo takes one line per directive and shows each as an error.
            for line in error.to_string().lines() {
                println!("cargo::error={line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn embed() -> Result<Vec<String>, BuildError> {
    let get = |name: &str| env::var_os(name);
    toolchain::embed_ptx(&Request::under_cargo(&get)?)
}
