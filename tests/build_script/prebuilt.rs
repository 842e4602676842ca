//! Prebuilt PTX: when it is taken, and when it is refused.

use std::fs;

use crate::scratch::{Change, Scratch};

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
             kernels: &[\"norm_{dtype}_registers\", \"norm_{dtype}_looped\"], \
             forms: &[Form::GENERAL, Form::LOOPED] }},"
        ))
    );
    let modules: Vec<&str> =
        run.generated.lines().filter_map(|line| line.trim().strip_prefix("EmbeddedModule ")).collect();
    // One file for both targets, in which the text for the second comes after that for the first.
    let files = run.generated.lines().filter_map(|line| line.strip_prefix("static FILE_"));
    assert!(files.eq(["bf16", "f32"].iter().enumerate().map(|(at, dtype)| format!(
        "{at}: &[u8] = include_bytes!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \
         \"/kernels/prebuilt/norm.{dtype}.ptx.lzma\"));"
    ))));
    let wanted = [(0, 75, 0, 1075), (0, 90, 1075, 1090), (1, 75, 0, 3275), (1, 90, 3275, 3290)];
    assert_eq!(
        modules,
        wanted.map(|(instance, target, offset, bytes)| format!(
            "{{ instance: &INSTANCES[{instance}], target: {target}, isa: (8, 2), offset: {offset}, \
             ptx_bytes: {bytes}, file: FILE_{instance} }},"
        ))
    );
    assert!(run.warnings().is_empty());
}

#[test]
fn cargo_watches_the_kernels_and_every_variable_read() {
    let run = Scratch::new("watched").run().unwrap();
    assert!(run.directives.contains(&"cargo::rerun-if-changed=kernels".to_owned()));
    let searched = ["CUDA_HOME", "CUDA_PATH", "NVCC", "PATH"];
    let read = ["DOCS_RS", "WARPNORM_ARCHS", "WARPNORM_CUBINS", "WARPNORM_PTX"];
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
    type Edit = fn(&Scratch);
    let changes: [(&str, Edit); 6] = [
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
    for file in ["kernels/modules.txt", "kernels/row.cu", "kernels/common/warp.cuh", "kernels/prebuilt/manifest.txt"] {
        scratch.replace(file, "\n", "\r\n");
    }
    let run = scratch.run().unwrap();
    assert!(run.generated.contains("compiler: \"NVRTC 12.2.140\""));
}

#[test]
fn ptx_that_the_manifest_does_not_vouch_for_is_refused() {
    const FILE: &str = "kernels/prebuilt/norm.f32.ptx.lzma";
    const MANIFEST: &str = "kernels/prebuilt/manifest.txt";
    let changes: [Change; 12] = [
        ("edited", |s| s.replace(FILE, "compressed", "my own"), "norm.f32.ptx.lzma: its hash is"),
        ("truncated", |s| s.replace(FILE, "compressed\n", "compr"), "norm.f32.ptx.lzma: its hash is"),
        // To git it is a binary file. As a text, a checkout on Windows would damage it.
        ("line endings", |s| s.replace(FILE, "\n", "\r\n"), "it is damaged, or another's, or was changed by hand"),
        (
            "another module's",
            |s| s.write(FILE, &s.read("kernels/prebuilt/norm.bf16.ptx.lzma")),
            "norm.f32.ptx.lzma: its hash is",
        ),
        (
            "plain text",
            |s| fs::rename(s.package(FILE), s.package("kernels/prebuilt/norm.f32.ptx")).unwrap(),
            "norm.f32.ptx.lzma: ",
        ),
        (
            "unlisted",
            |s| s.replace(MANIFEST, "file norm.f32", "file x"),
            "norm.f32.ptx.lzma: the manifest does not list it",
        ),
        (
            "another target",
            |s| s.replace(MANIFEST, "sm_90 3290", "sm_80 3290"),
            "norm.f32.ptx.lzma: the manifest lists no text for the target sm_90",
        ),
        ("newer ISA", |s| s.write_prebuilt("9.0"), "its PTX ISA is 9.0, and modules.txt allows 8.2"),
        ("no manifest", |s| fs::remove_file(s.package(MANIFEST)).unwrap(), "manifest.txt cannot be read"),
        (
            "strange manifest",
            |s| s.replace(MANIFEST, "flags ", "FLAGS "),
            "line 5: `FLAGS --std=c++17 --fmad=false` is not a line of a manifest",
        ),
        (
            "manifest of plain PTX",
            |s| s.replace(MANIFEST, " 8.2 sm_75 1075 0123456789abcdef", ""),
            "line 6: `file norm.bf16.ptx.lzma",
        ),
        (
            "no length",
            |s| s.replace(MANIFEST, "1075", "all"),
            "sm_75 all 0123456789abcdef` is not a line of a manifest",
        ),
    ];
    Scratch::each_is_refused("unvouched", &changes);
}
