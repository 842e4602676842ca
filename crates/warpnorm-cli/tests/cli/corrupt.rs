//! Damaged files: whatever a file holds, the tool ends with an exit code of its own.

use crate::tool::{Run, fixture, warpnorm};
use std::path::Path;

fn apply(bytes: &[u8], device: &str, folder: &Path) -> Run {
    let input = folder.join("in.safetensors");
    let output = folder.join("out.safetensors");
    std::fs::write(&input, bytes).unwrap();
    let _ = std::fs::remove_file(&output);
    let run = warpnorm([
        "apply",
        "--op",
        "layer-norm",
        "--stats",
        "--device",
        device,
        "--input",
        input.to_str().unwrap(),
        "--output",
        output.to_str().unwrap(),
    ]);
    assert_eq!(output.exists(), run.code == Some(0), "{run:?}");
    if run.code != Some(0) {
        assert_eq!(run.stderr.lines().count(), 1, "{run:?}");
        assert!(run.stderr.starts_with("error: "), "{run:?}");
    }
    run
}

/// The 200 damaged places: 100 over the header, which decides how the rest is read, 100 over the data.
fn places(length: usize) -> impl Iterator<Item = usize> {
    let header = 8 + 1024;
    (0..100).map(move |i| i * header / 100).chain((0..100).map(move |i| header + i * (length - header) / 100))
}

#[test]
fn flipped_bits_never_crash_the_tool() {
    let small = std::fs::read(fixture("minilm-output-norm.safetensors")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut refused = 0;
    for (number, place) in places(small.len()).enumerate() {
        let mut damaged = small.clone();
        damaged[place] ^= 1 << (number % 8);
        let device = if number % 4 == 0 { "emulated" } else { "cpu" };
        let run = apply(&damaged, device, folder.path());
        assert!(matches!(run.code, Some(0 | 2)), "bit {} of byte {place}: {run:?}", number % 8);
        refused += usize::from(run.code == Some(2));
    }
    // Damage to the structure is noticed; damage to a value is a value.
    assert!((20..=100).contains(&refused), "{refused}");
}

#[test]
fn truncated_files_are_refused() {
    let small = std::fs::read(fixture("minilm-output-norm.safetensors")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for place in places(small.len()) {
        let run = apply(&small[..place], "cpu", folder.path());
        assert_eq!(run.code, Some(2), "cut at {place}: {run:?}");
    }
}

/// A file with this header and this many bytes of data.
fn file(header: &str, data: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; data]].concat()
}

#[test]
fn headers_made_to_mislead_are_refused() {
    // Sixteen tensors of 2^60 bytes, the last one short of one byte: with the header's length, the sum
    // of all sizes is past the largest integer.
    let size = 1u64 << 60;
    let entry = |index: u64| {
        let (start, end) = (index * size, index * size + (size - u64::from(index == 15)));
        format!(r#""t{index}.x":{{"dtype":"U8","shape":[{}],"data_offsets":[{start},{end}]}}"#, end - start)
    };
    let wrapping = (0..16).map(entry).collect::<Vec<_>>().join(",");
    let nested = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let x =
        |shape: &str, offsets: &str| format!(r#"{{"x":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}"#);
    let headers = [
        format!("{{{wrapping}}}"),
        nested,
        x("[4]", "[0,99]"),
        x("[4]", "[16,0]"),
        x("[4]", "[8,24]"),
        x("[18446744073709551615,2]", "[0,16]"),
        x("[4611686018427387905]", "[0,4]"),
        x("[-4]", "[0,16]"),
        x("[4.5]", "[0,16]"),
        x("[4]", "[0,18446744073709551615]"),
        r#"{"x":["F32",[4611686018427387904],[0,18446744073709551608]]}"#.to_owned(),
        r#"{"x":null}"#.to_owned(),
        r#"{"__metadata__":{"a":1}}"#.to_owned(),
        "null".to_owned(),
        String::new(),
    ];
    let folder = tempfile::tempdir().unwrap();
    for header in headers {
        let run = apply(&file(&header, 16), "cpu", folder.path());
        assert_eq!(run.code, Some(2), "{}: {run:?}", &header[..header.len().min(200)]);
    }
    let length = [&u64::MAX.to_le_bytes()[..], &[0; 64]].concat();
    assert_eq!(apply(&length, "cpu", folder.path()).code, Some(2));
}
