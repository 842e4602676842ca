//! `WARPNORM_ARCHS`: the list of architectures.

use crate::scratch::Scratch;

#[cfg(unix)]
fn targets_of(list: &str) -> (Vec<u32>, Vec<String>) {
    let mut scratch = Scratch::new(&format!("archs-{list}"));
    let home = scratch.toolkit("12.9.86");
    let run = scratch.set("CUDA_HOME", home).set("WARPNORM_ARCHS", list).run().unwrap();
    let targets = run
        .generated
        .lines()
        .filter(|line| line.contains("EmbeddedModule { instance: &INSTANCES[1],"))
        .map(|line| {
            let (_, rest) = line.split_once("target: ").unwrap();
            rest.split(',').next().unwrap().parse().unwrap()
        })
        .collect();
    let warnings = run.warnings().into_iter().map(str::to_owned).collect();
    (targets, warnings)
}

#[cfg(unix)]
#[test]
fn a_list_replaces_the_default_targets() {
    for (list, targets) in
        [("", vec![75, 90]), ("75", vec![75]), ("120, 90,75", vec![75, 90, 120]), ("75,90,75", vec![75, 90])]
    {
        assert_eq!(targets_of(list), (targets, vec![]), "of {list:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_list_without_a_base_is_taken_with_a_warning() {
    let (targets, warnings) = targets_of("100,89");
    assert_eq!(targets, [89, 100]);
    assert_eq!(
        warnings,
        ["WARPNORM_ARCHS has no entry below 80: \
          the crate will refuse GPUs below compute capability 8.9"]
    );
}

#[test]
fn a_list_has_no_effect_on_prebuilt_ptx_and_says_so() {
    let mut scratch = Scratch::new("archs-ignored");
    let run = scratch.set("WARPNORM_ARCHS", "75,80").run().unwrap();
    assert_eq!(run.warnings().len(), 1);
    assert!(run.warnings()[0].starts_with("WARPNORM_ARCHS=75,80 has no effect on prebuilt PTX"));
}

#[test]
fn entries_that_are_no_plain_number_are_refused() {
    for (list, entry, reason) in [
        ("75,90a", "90a", "runs on that very chip and on no later one"),
        ("100f", "100f", "runs on that family of chips and on no later one"),
        ("75,,90", "", "two or three digits are wanted"),
        ("75,90,", "", "two or three digits are wanted"),
        ("sm_75", "sm_75", "two or three digits are wanted"),
        ("7.5", "7.5", "two or three digits are wanted"),
        ("75;90", "75;90", "two or three digits are wanted"),
        ("-75", "-75", "two or three digits are wanted"),
        ("1000", "1000", "two or three digits are wanted"),
        ("75x", "75x", "digits alone are wanted"),
        ("٧٥", "٧٥", "two or three digits are wanted"),
        ("native", "native", "two or three digits are wanted"),
    ] {
        let mut scratch = Scratch::new("archs-refused");
        // Refused in every mode: the same setting must not break a build on
        // one machine and pass on another.
        for mode in ["auto", "prebuilt"] {
            let said = scratch.set("WARPNORM_PTX", mode).set("WARPNORM_ARCHS", list).refusal();
            let wanted = format!("WARPNORM_ARCHS is `{list}`, and its entry `{entry}` cannot be used: {reason}");
            let start = wanted.split(": ").next().unwrap();
            assert!(said.starts_with(start) && said.contains(reason), "{said}");
        }
    }
}

#[cfg(unix)]
#[test]
fn a_list_that_is_no_text_is_refused() {
    use std::os::unix::ffi::OsStringExt;

    let mut scratch = Scratch::new("archs-no-text");
    let list = std::ffi::OsString::from_vec(vec![b'7', 0xff]);
    let said = scratch.set("WARPNORM_ARCHS", list).refusal();
    assert!(said.starts_with("WARPNORM_ARCHS is not UTF-8"), "{said}");
}
