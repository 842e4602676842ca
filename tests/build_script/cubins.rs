//! Machine code beside the PTX: what comes with it, and `WARPNORM_CUBINS`.

use crate::committed::is_cubin;
use crate::scratch::{Change, Scratch};
use std::ffi::OsString;
use std::fs;
use std::path::Path;

const NONE: &str = "const ORIGIN: Origin = Origin::Prebuilt;\nconst COMPILER: &str = \"\";\nconst TOOLKIT: u32 = 0;\n\
                    static CUBINS: &[EmbeddedCubin] = &[\n];\n";

#[test]
fn those_of_the_package_come_with_its_ptx() {
    let rows: String = [("bf16", 0), ("f32", 1)]
        .map(|(dtype, instance)| {
            format!(
                "    EmbeddedCubin {{ instance: &crate::ptx::INSTANCES[{instance}], target: 90, code_bytes: 12345, \
                 file: &Aligned(*include_bytes!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \
                 \"/kernels/prebuilt/norm.{dtype}.sm_90.cubin.lzma\"))) }},\n"
            )
        })
        .concat();
    let wanted = format!(
        "const ORIGIN: Origin = Origin::Prebuilt;\nconst COMPILER: &str = \"ptxas 12.9.86\";\n\
         const TOOLKIT: u32 = 12;\nstatic CUBINS: &[EmbeddedCubin] = &[\n{rows}];\n"
    );
    let mut scratch = Scratch::new("cubins-shipped");
    let run = scratch.run().unwrap();
    assert_eq!(run.generated_cubins, wanted);
    assert!(run.watched().contains(&"WARPNORM_CUBINS"));
    assert_eq!(scratch.set("WARPNORM_CUBINS", "").run().unwrap().generated_cubins, wanted);
    // docs.rs has no nvcc, and builds what it can.
    scratch.set("DOCS_RS", "1").set("WARPNORM_CUBINS", "90");
    assert_eq!(scratch.run().unwrap().generated_cubins, wanted);
}

#[test]
fn they_do_not_come_where_the_ptx_is_another_or_nobody_wants_them() {
    let mut scratch = Scratch::new("cubins-none");
    assert_eq!(scratch.set("WARPNORM_CUBINS", "none").run().unwrap().generated_cubins, NONE);

    let mut scratch = Scratch::new("cubins-not-of-nvcc");
    let home = scratch.toolkit("12.9.86");
    assert_eq!(scratch.set("CUDA_HOME", home).run().unwrap().generated_cubins, NONE);
}

#[test]
fn those_that_the_manifest_does_not_vouch_for_are_refused() {
    const FILE: &str = "kernels/prebuilt/norm.f32.sm_90.cubin.lzma";
    const MANIFEST: &str = "kernels/prebuilt/manifest.txt";
    let changes: [Change; 6] = [
        ("edited", |s| s.replace(FILE, "assembled", "my own"), "norm.f32.sm_90.cubin.lzma: its hash is"),
        ("missing", |s| fs::remove_file(s.package(FILE)).unwrap(), "norm.f32.sm_90.cubin.lzma: "),
        (
            "another chip",
            |s| s.replace(MANIFEST, "cubin norm.f32.sm_90", "cubin norm.f32.sm_80"),
            "norm.f32.sm_90.cubin.lzma: the manifest does not list it",
        ),
        (
            "no length",
            |s| s.replace(MANIFEST, "cubin norm.f32.sm_90.cubin.lzma", "cubin"),
            "is not a line of a manifest",
        ),
        ("no assembler", |s| s.replace(MANIFEST, "assembler ptxas", "# ptxas"), "an `assembler` line is wanted"),
        (
            "one more chip",
            |s| {
                s.replace("kernels/modules.txt", "cubins 90", "cubins 90 80");
                let hash = Scratch::source_hash();
                let changed = Scratch::hash_of(&s.read("kernels/modules.txt"));
                s.replace(MANIFEST, &hash, &changed);
            },
            "norm.bf16.sm_80.cubin.lzma: the manifest does not list it",
        ),
    ];
    Scratch::each_is_refused("cubins-unvouched", &changes);
}

/// Prebuilt PTX, and machine code from nvcc for named chips: what a server is shipped with.
#[test]
fn they_go_with_either_ptx() {
    for (ptx, origin) in [("prebuilt", "Origin::Prebuilt"), ("auto", "Origin::Nvcc"), ("nvcc", "Origin::Nvcc")] {
        let mut scratch = Scratch::new(&format!("cubins-{ptx}"));
        let home = scratch.toolkit("12.9.86");
        scratch.set("CUDA_HOME", &home).set("WARPNORM_PTX", ptx).set("WARPNORM_CUBINS", "90,86");
        let run = scratch.run().unwrap();
        assert!(run.generated.contains(origin), "{}", run.generated);
        assert_eq!(run.generated.matches("EmbeddedModule { instance").count(), 4);

        assert!(run.generated_cubins.starts_with(
            "const ORIGIN: Origin = Origin::Nvcc;\nconst COMPILER: &str = \"nvcc 12.9.86\";\nconst TOOLKIT: u32 = 12;\n"
        ));
        assert_eq!(run.generated_cubins.matches("EmbeddedCubin { instance").count(), 4);
        for (instance, dtype, target, define) in [(1, "f32", 86, "F32"), (0, "bf16", 90, "BF16")] {
            let file = format!("norm.{dtype}.sm_{target}.cubin");
            let bytes = scratch.read_output_bytes(&file).len();
            let row = format!(
                "EmbeddedCubin {{ instance: &crate::ptx::INSTANCES[{instance}], target: {target}, \
                 code_bytes: {bytes}, file: &Aligned(*include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{file}\"))) }},"
            );
            assert!(run.generated_cubins.contains(&row), "no {row} in: {}", run.generated_cubins);
            let wanted = format!(
                "\x7fELF --cubin --gpu-architecture=sm_{target} --std=c++17 --fmad=false \
                 -DWARPNORM_MODULE=norm -DWARPNORM_STATISTIC=Mean -DWARPNORM_SOURCE=Plain -DWARPNORM_SINK=Store \
                 -DWARPNORM_ACTIVATION_{define} -I kernels -o "
            );
            assert!(scratch.read_output(&file).starts_with(&wanted), "{}", scratch.read_output(&file));
        }
        let nvcc = format!("cargo::rerun-if-changed={}", home.join("bin/nvcc").display());
        assert_eq!(run.directives.iter().filter(|line| **line == nvcc).count(), 1);
        assert!(run.watched().contains(&"NVCC_APPEND_FLAGS"));
    }
}

#[test]
fn without_nvcc_they_are_refused() {
    for mode in ["auto", "prebuilt"] {
        let said = Scratch::new("cubins-absent").set("WARPNORM_PTX", mode).set("WARPNORM_CUBINS", "90").refusal();
        assert!(said.starts_with("WARPNORM_CUBINS asks for machine code, and there is no nvcc"), "{said}");
        assert!(said.contains("nvcc was looked for in: NVCC (not set)"), "{said}");
    }
}

#[test]
fn what_is_no_machine_code_is_refused() {
    let mut scratch = Scratch::new("cubins-text");
    let home = scratch.toolkit("12.9.86");
    fs::write(home.join("bin/text"), "!<arch>").unwrap();
    let said = scratch.set("CUDA_HOME", home).set("WARPNORM_PTX", "prebuilt").set("WARPNORM_CUBINS", "90").refusal();
    assert!(said.contains("the cubin it wrote cannot be used: it is no ELF file"), "{said}");
}

#[test]
fn chips_are_plain_numbers() {
    for (list, entry) in [("90a", "90a"), ("75,,90", ""), ("sm_90", "sm_90")] {
        let said = Scratch::new("cubins-refused").set("WARPNORM_CUBINS", list).refusal();
        let wanted = format!("WARPNORM_CUBINS is `{list}`, and its entry `{entry}` cannot be used: ");
        assert!(said.starts_with(&wanted), "{said}");
    }
}

/// A module of the real kernels, by the real nvcc.
#[test]
#[ignore = "needs nvcc, in CUDA_HOME"]
fn nvcc_makes_machine_code() {
    let mut scratch = Scratch::new("cubins-real");
    let kernels = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
    let table = fs::read_to_string(kernels.join("modules.txt")).unwrap();
    let keeps = |line: &&str| !["module ", "paths ", "columns "].iter().any(|key| line.starts_with(key));
    let others: Vec<&str> = table.lines().filter(keeps).collect();
    scratch.write("kernels/modules.txt", &format!("{}\nmodule copy Identity Plain Store f32\n", others.join("\n")));
    for folder in ["", "row", "common", "columns"] {
        for file in fs::read_dir(kernels.join(folder)).unwrap().map(|entry| entry.unwrap().path()) {
            if file.extension().is_some_and(|extension| extension == "cu" || extension == "cuh") {
                let name = file.strip_prefix(&kernels).unwrap().display().to_string();
                scratch.write(&format!("kernels/{name}"), &fs::read_to_string(&file).unwrap());
            }
        }
    }
    for name in ["CUDA_HOME", "PATH"] {
        scratch.set(name, std::env::var_os(name).unwrap_or_else(OsString::new));
    }
    let run = scratch.set("WARPNORM_ARCHS", "90").set("WARPNORM_CUBINS", "90").run().unwrap();
    assert!(run.generated_cubins.contains("copy.f32.sm_90.cubin"), "{}", run.generated_cubins);
    let code = scratch.read_output_bytes("copy.f32.sm_90.cubin");
    assert!(is_cubin(&code));
    for kernel in ["copy_f32_registers", "copy_f32_looped"] {
        assert!(code.windows(kernel.len()).any(|bytes| bytes == kernel.as_bytes()), "no {kernel}");
    }
}
