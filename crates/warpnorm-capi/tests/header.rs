//! The committed header is what the sources say.

use std::{env, fs, path::Path};

/// Writes the header where `WARPNORM_WRITE_HEADER` is set, as `scripts/c_header.sh` does; else compares it.
#[test]
fn the_header_is_generated_from_the_sources() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("a configuration");
    let mut builder = cbindgen::Builder::new().with_config(config);
    // In an order that the reader of the header can use; by file rather than by crate, for which cargo would be run.
    for file in ["version", "status", "enums", "device", "norm", "call", "columns", "run"] {
        builder = builder.with_src(root.join(format!("src/{file}.rs")));
    }
    let mut generated = Vec::new();
    builder.generate().expect("sources that make a header").write(&mut generated);
    let generated = without_safety(&String::from_utf8(generated).expect("UTF-8"));

    let path = root.join("include/warpnorm.h");
    if env::var_os("WARPNORM_WRITE_HEADER").is_some() {
        fs::write(&path, &generated).expect("the header is written");
    }
    let committed = fs::read_to_string(&path).expect("the header is committed");
    assert!(committed == generated, "include/warpnorm.h is not what the sources say; scripts/c_header.sh writes it");
}

/// Without the sections for Rust, which in C every pointer is assumed to keep.
fn without_safety(header: &str) -> String {
    let mut kept = String::new();
    let mut skipping = false;
    for line in header.lines() {
        let comment = line.trim_start().starts_with("//");
        if line.trim() == "// # Safety" {
            skipping = true;
            // The empty line before the section goes with it.
            let without = kept.trim_end_matches('\n').trim_end_matches("//").trim_end();
            kept.truncate(without.len());
            kept.push('\n');
        } else if !comment {
            skipping = false;
        }
        if !skipping {
            kept.push_str(&line.replace("\\[", "[").replace("\\]", "]"));
            kept.push('\n');
        }
    }
    kept
}
