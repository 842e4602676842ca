//! Whether every spelling that the decoder accepts has an oracle.
//!
//! The families list what is supported, and every spelling of theirs is run. What this test adds
//! is that there is nothing else: the words that the decoder knows are read from its own sources,
//! and each is tried as an opcode, in place of each modifier of the listed spellings, and beside
//! them. Whatever is accepted must be listed.

use crate::FAMILIES;
use crate::harness::{instruction, module};
use crate::syntax::{Spelling, Type, expand};
use ptx_emu::{Module, ParseError};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// The string literals of the decoder that could be opcodes and modifiers.
fn decoder_words() -> BTreeSet<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/decode");
    let mut words = BTreeSet::new();
    for file in std::fs::read_dir(folder).expect("the decoder's folder") {
        let text = std::fs::read_to_string(file.expect("a file").path()).expect("text");
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            let quoted = line.split('"').skip(1).step_by(2);
            let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
            words.extend(quoted.filter(|text| !text.is_empty() && text.chars().all(is_word)).map(str::to_owned));
        }
    }
    words
}

/// A module in which every name that the templates use is declared.
fn text_around(instructions: &str) -> String {
    let mut variables = String::new();
    let mut function = ".visible";
    if instructions.contains("targets") {
        variables += "targets: .branchtargets label;\n";
    }
    if instructions.contains("argument") {
        variables += ".param .align 16 .b8 argument[4];\n.param .align 16 .b8 result[4];\n";
        function =
            ".func (.param .align 16 .b8 result[4]) function (.param .align 16 .b8 argument[4]) { ret; }\n.visible";
    }
    module("", &format!("{variables}{instructions}\nlabel:")).replace(".visible", function)
}

/// Order matters among types only: the decoder takes other modifiers wherever they stand.
fn key(spelling: &Spelling) -> String {
    let (types, mut others): (Vec<_>, Vec<_>) =
        spelling.modifiers.iter().map(String::as_str).partition(|modifier| Type::parse(modifier).is_some());
    others.sort_unstable();
    format!("{} {} {}", spelling.opcode, others.join("."), types.join("."))
}

/// What says how an access to memory is ordered and cached, but not what it does.
const QUALIFIERS: &str = "weak volatile relaxed acquire release acq_rel mmio cta cluster gpu sys nc ca cg cs lu cv wb wt \
    L1::evict_normal L1::evict_unchanged L1::evict_first L1::evict_last L1::no_allocate L2::64B L2::128B L2::256B \
    L2::cache_hint L2::evict_first L2::evict_last L2::evict_normal L2::evict_unchanged";

/// The parts of a spelling that are tested in every combination: for memory accesses, qualifiers
/// with spaces, and spaces with operations and types; for all else, the whole.
fn parts(spelling: &Spelling) -> Vec<String> {
    if !matches!(spelling.opcode.as_str(), "ld" | "st" | "atom" | "red") {
        return vec![key(spelling)];
    }
    let kept = |keep: &dyn Fn(&str) -> bool| {
        let modifiers = spelling.modifiers.iter().filter(|modifier| keep(modifier)).cloned().collect();
        key(&Spelling { opcode: spelling.opcode.clone(), modifiers })
    };
    let qualifier = |modifier: &str| QUALIFIERS.split(' ').any(|known| known == modifier);
    let space = |modifier: &str| {
        let space = modifier.split("::").next().unwrap_or(modifier);
        matches!(space, "global" | "shared" | "local" | "const" | "param")
    };
    vec![
        kept(&|modifier| qualifier(modifier) || space(modifier)) + " qualifiers",
        kept(&|modifier| !qualifier(modifier)),
    ]
}

/// Modifiers that differ in what they do, but not in what they go with.
const ALIKE: [&[&str]; 9] = [
    &["rn", "rz", "rm", "rp"],
    &["rni", "rzi", "rmi", "rpi"],
    &["eq", "ne", "lt", "le", "gt", "ge"],
    &["equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan"],
    &["and", "or", "xor"],
    &["cta", "cluster", "gpu", "sys"],
    &["ca", "cg", "cs", "lu", "cv", "wb", "wt"],
    &["L1::evict_normal", "L1::evict_unchanged", "L1::evict_first", "L1::evict_last", "L1::no_allocate"],
    &["L2::64B", "L2::128B", "L2::256B"],
];

/// A spelling up to modifiers that are alike; and, unless `widths` is set, up to the widths of its
/// types.
fn form(spelling: &Spelling, widths: bool) -> String {
    let modifiers = spelling.modifiers.iter().map(|modifier| match Type::parse(modifier) {
        Some(ty) if !widths => format!("{:?}{}", ty.kind, if ty.is_packed() { "x2" } else { "" }),
        _ => {
            let alike = ALIKE.iter().find(|group| group.contains(&modifier.as_str()));
            alike.map_or(modifier.as_str(), |group| group[0]).to_owned()
        }
    });
    format!("{} {:?}", spelling.opcode, modifiers.collect::<Vec<_>>())
}

/// One modifier less, one different, one more.
fn neighbours(spelling: &Spelling, words: &[&String]) -> Vec<Spelling> {
    let mut neighbours = Vec::new();
    for at in 0..=spelling.modifiers.len() {
        let mut put = |word: Option<&String>, replaced: usize| {
            let mut neighbour = spelling.clone();
            neighbour.modifiers.splice(at..at + replaced, word.cloned());
            neighbours.push(neighbour);
        };
        if at < spelling.modifiers.len() {
            put(None, 1);
            words.iter().for_each(|word| put(Some(word), 1));
        }
        // Only among types does it matter where a word stands.
        let new = words.iter().filter(|word| at == 0 || Type::parse(word).is_some());
        new.for_each(|word| put(Some(word), 0));
    }
    neighbours
}

#[test]
fn everything_listed_is_accepted() {
    for (notation, template) in FAMILIES.iter().flat_map(|family| family.lines) {
        for spelling in expand(notation) {
            let text = text_around(&instruction(&spelling, template).expect("operands"));
            if let Err(error) = Module::parse(&text) {
                panic!("`{spelling}` is listed, but {error}");
            }
        }
    }
}

#[test]
fn nothing_else_is_accepted() {
    let words = decoder_words();
    assert!(words.contains("shfl") && words.contains("satfinite") && words.contains("L2::cache_hint"));
    let mut listed = HashSet::new();
    let mut templates: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    let mut spellings = Vec::new();
    for (notation, template) in FAMILIES.iter().flat_map(|family| family.lines) {
        for spelling in expand(notation) {
            templates.entry(spelling.opcode.clone()).or_default().insert(template);
            let parts = parts(&spelling);
            if parts.iter().any(|part| !listed.contains(part)) {
                listed.extend(parts);
                spellings.push(spelling);
            }
        }
    }
    for word in &words {
        let text = module("", &format!("{word} %r0, %r1;"));
        let unknown = matches!(Module::parse(&text), Err(ParseError::UnknownInstruction { .. }));
        assert!(unknown || templates.contains_key(word) || Type::parse(word).is_some(), "`{word}` has no family");
    }
    let (mut forms, mut kinds, mut tried) = (HashSet::new(), HashSet::new(), HashSet::new());
    let mut extra = BTreeSet::new();
    for spelling in &spellings {
        // Of spellings that differ in modifiers that are alike, one is enough; and, for words that are
        // no types, one of those that differ in the widths of their types.
        if !forms.insert(form(spelling, true)) {
            continue;
        }
        let first = kinds.insert(form(spelling, false));
        let words: Vec<_> = words.iter().filter(|word| first || Type::parse(word).is_some()).collect();
        for neighbour in neighbours(spelling, &words) {
            let known = parts(&neighbour).iter().all(|part| listed.contains(part));
            if known || !tried.insert(key(&neighbour)) {
                continue;
            }
            let forms = templates[&spelling.opcode].iter().filter_map(|template| instruction(&neighbour, template));
            let forms: BTreeSet<_> = forms.collect();
            extra.extend(forms.into_iter().find(|form| Module::parse(&text_around(form)).is_ok()));
        }
    }
    let list: Vec<_> = extra.iter().map(String::as_str).collect();
    assert!(extra.is_empty(), "{} instructions are accepted but have no oracle:\n{}", extra.len(), list.join("\n"));
}

/// Nothing is listed that NVIDIA's assembler refuses.
#[test]
#[ignore = "needs ptxas below CUDA_HOME"]
fn ptxas_takes_everything_listed() {
    let ptxas = std::path::Path::new(&std::env::var("CUDA_HOME").expect("CUDA_HOME is set")).join("bin/ptxas");
    let lines = FAMILIES.iter().flat_map(|family| family.lines).flat_map(|(notation, template)| {
        expand(notation).into_iter().map(|spelling| instruction(&spelling, template).expect("operands"))
    });
    let text = text_around(&lines.collect::<Vec<_>>().join("\n")).replace(".version 8.2", ".version 9.0");
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("listed.ptx");
    std::fs::write(&file, &text).expect("a file");
    let output = std::process::Command::new(ptxas)
        .args(["-arch=sm_90", "-c", "-o", "/dev/null"])
        .arg(&file)
        .output()
        .expect("ptxas runs");
    let messages = String::from_utf8_lossy(&output.stderr);
    let texts: Vec<&str> = text.lines().collect();
    let explained = messages.lines().map(|message| {
        let number = message.split("line ").nth(1).and_then(|rest| rest.split(';').next()).and_then(|n| n.parse().ok());
        let line = number.and_then(|number: usize| texts.get(number - 1)).copied().unwrap_or_default();
        format!("{line}    {}", message.split("; ").last().unwrap_or_default())
    });
    assert!(output.status.success(), "{}", explained.collect::<Vec<_>>().join("\n"));
}
