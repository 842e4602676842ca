//! Prebuilt PTX: when it is taken, and when it is refused.

use std::fs;

use crate::scratch::Scratch;

#[test]
fn without_nvcc_the_prebuilt_ptx_is_embedded() {
    let scratch = Scratch::new("auto-prebuilt");
    let run = scratch.run().unwrap();

    let hash = Scratch::source_hash();
    assert!(run.generated.starts_with(&format!(
        "pub(crate) const PROVENANCE: Provenance = Provenance {{ origin: Origin::Prebuilt, \
         compiler: \"NVRTC 12.2.140\", source_hash: \"{hash}\" }};\n"
    )));
    let instances: Vec<&str> = run.generated.lines().filter_map(|line| line.trim().strip_prefix("Instance ")).collect();
    assert_eq!(
        instances,
        [("bf16", "BF16"), ("f32", "F32")].map(|(dtype, variant)| format!(
            "{{ module: Module {{ statistic: Family::Mean, source: Source::Plain, sink: Sink::Store, \
             dtype: DType::{variant} }}, name: \"norm\", \
             kernels: [\"norm_{dtype}_registers\", \"norm_{dtype}_looped\"] }},"
        ))
    );
    let modules: Vec<&str> =
        run.generated.lines().filter_map(|line| line.trim().strip_prefix("EmbeddedModule ")).collect();
    assert_eq!(modules.len(), 4);
    for (row, module) in modules.iter().zip(["bf16.sm_75", "bf16.sm_90", "f32.sm_75", "f32.sm_90"]) {
        let text = scratch.read(&format!("kernels/prebuilt/norm.{module}.ptx"));
        let (instance, target) = (usize::from(module.starts_with("f32")), &module[module.len() - 2..]);
        assert_eq!(
            *row,
            format!(
                "{{ instance: &INSTANCES[{instance}], target: {target}, isa: (8, 2), ptx_bytes: {}, deflated: \
                 include_bytes!(concat!(env!(\"OUT_DIR\"), \"/norm.{module}.ptx.deflate\")) }},",
                text.len()
            )
        );
        assert_eq!(scratch.inflate(&format!("norm.{module}")), text);
    }
    assert!(run.warnings().is_empty());
}

#[test]
fn cargo_watches_the_kernels_and_every_variable_read() {
    let run = Scratch::new("watched").run().unwrap();
    assert!(run.directives.contains(&"cargo::rerun-if-changed=kernels".to_owned()));
    let searched = ["CUDA_HOME", "CUDA_PATH", "NVCC", "PATH"];
    let read = ["DOCS_RS", "WARPNORM_ARCHS", "WARPNORM_PTX"];
    let mut wanted = [searched.as_slice(), read.as_slice()].concat();
    wanted.sort_unstable();
    assert_eq!(run.watched(), wanted);

    // Where nvcc is not looked for, its variables do not matter.
    let mut scratch = Scratch::new("watched-prebuilt");
    let run = scratch.set("WARPNORM_PTX", "prebuilt").run().unwrap();
    assert_eq!(run.watched(), read);
}

#[cfg(unix)]
#[test]
fn prebuilt_mode_and_docs_rs_pass_nvcc_over() {
    for (name, value) in [("WARPNORM_PTX", "prebuilt"), ("DOCS_RS", "1")] {
        let mut scratch = Scratch::new(&format!("passed-over-{name}"));
        let home = scratch.toolkit("12.9.86");
        let run = scratch.set("CUDA_HOME", home).set(name, value).run().unwrap();
        assert!(run.generated.contains("Origin::Prebuilt"), "{name}");
    }
}

#[test]
fn a_changed_source_makes_the_prebuilt_ptx_stale() {
    type Change = fn(&Scratch);
    let changes: [(&str, Change); 6] = [
        ("kernel", |s| s.write("kernels/row.cu", "")),
        ("header", |s| {
            s.replace("kernels/common/warp.cuh", "lane", "line");
        }),
        ("flag", |s| {
            s.replace("kernels/modules.txt", "--fmad=false", "--fmad=true");
        }),
        ("new header", |s| s.write("kernels/row/args.cuh", "")),
        ("renamed header", |s| {
            let header = s.package("kernels/common/warp.cuh");
            fs::rename(header, s.package("kernels/common/wrap.cuh")).unwrap();
        }),
        ("removed header", |s| {
            fs::remove_file(s.package("kernels/common/warp.cuh")).unwrap();
        }),
    ];
    for (what, change) in changes {
        let scratch = Scratch::new(&format!("stale-{what}"));
        change(&scratch);
        let said = scratch.refusal();
        let hash = Scratch::source_hash();
        assert!(said.contains(&format!("made from sources with the hash {hash}")), "{what}: {said}");
        for remedy in ["scripts/prebuilt.sh", "WARPNORM_PTX=nvcc", "NVCC"] {
            assert!(said.contains(remedy), "{what}: no {remedy} in: {said}");
        }
        assert!(said.contains("looked for in: NVCC (not set), CUDA_HOME (not set)"), "{what}: {said}");
    }
}

#[test]
fn files_that_are_no_sources_do_not_make_it_stale() {
    let scratch = Scratch::new("other-files");
    scratch.write("kernels/README.md", "notes");
    scratch.write("kernels/common/warp.cuh~", "an editor's");
    assert!(scratch.run().is_ok());
}

#[test]
fn a_checkout_with_windows_line_endings_is_not_stale() {
    let scratch = Scratch::new("crlf");
    for file in [
        "kernels/modules.txt",
        "kernels/row.cu",
        "kernels/common/warp.cuh",
        "kernels/prebuilt/manifest.txt",
        "kernels/prebuilt/norm.f32.sm_75.ptx",
    ] {
        scratch.replace(file, "\n", "\r\n");
    }
    let run = scratch.run().unwrap();
    assert!(run.generated.contains("compiler: \"NVRTC 12.2.140\""));
}

#[test]
fn ptx_that_the_manifest_does_not_vouch_for_is_refused() {
    type Change = fn(&Scratch);
    let file = "kernels/prebuilt/norm.f32.sm_90.ptx";
    let changes: [(&str, Change, &str); 6] = [
        (
            "edited",
            |s| s.replace("kernels/prebuilt/norm.f32.sm_90.ptx", "//", "// mine"),
            "norm.f32.sm_90.ptx: its hash is",
        ),
        (
            "missing",
            |s| fs::remove_file(s.package("kernels/prebuilt/norm.f32.sm_90.ptx")).unwrap(),
            "norm.f32.sm_90.ptx: ",
        ),
        (
            "unlisted",
            |s| {
                s.replace("kernels/prebuilt/manifest.txt", "file norm.f32.sm_90", "file x");
            },
            "norm.f32.sm_90.ptx: the manifest does not list it",
        ),
        ("newer ISA", |s| s.write_prebuilt("9.0"), "its PTX ISA is 9.0, and modules.txt allows 8.2"),
        (
            "no manifest",
            |s| fs::remove_file(s.package("kernels/prebuilt/manifest.txt")).unwrap(),
            "manifest.txt cannot be read",
        ),
        (
            "strange manifest",
            |s| s.replace("kernels/prebuilt/manifest.txt", "isa ", "ISA "),
            "line 4: `ISA 8.2` is not a line of a manifest",
        ),
    ];
    for (what, change, wanted) in changes {
        let scratch = Scratch::new(&format!("unvouched-{what}"));
        assert!(scratch.package(file).exists());
        change(&scratch);
        let said = scratch.refusal();
        assert!(said.contains(wanted), "{what}: {said}");
        assert!(said.contains("scripts/prebuilt.sh"), "{what}: {said}");
    }
}

#[test]
fn ptx_for_another_target_is_refused() {
    let scratch = Scratch::new("another-target");
    let ptx = ".version 8.2\n.target sm_80\n";
    let old = crate::fnv::of_text(scratch.read("kernels/prebuilt/norm.f32.sm_75.ptx").as_bytes());
    scratch.write("kernels/prebuilt/norm.f32.sm_75.ptx", ptx);
    scratch.replace("kernels/prebuilt/manifest.txt", &old, &crate::fnv::of_text(ptx.as_bytes()));
    let said = scratch.refusal();
    assert!(said.contains("norm.f32.sm_75.ptx: its target is sm_80"), "{said}");
}
