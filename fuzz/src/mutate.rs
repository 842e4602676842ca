//! Changes to PTX that leave most of it PTX: bytes changed at random hardly ever parse.

use crate::random::Random;
use libfuzzer_sys::fuzzer_mutate;

/// Statements to insert, and words to put in another's place: those of the seeds.
pub const SEEDS: [&str; 6] = [
    include_str!("../seeds/flow.ptx"),
    include_str!("../seeds/floats.ptx"),
    include_str!("../seeds/integers.ptx"),
    include_str!("../seeds/meetings.ptx"),
    include_str!("../seeds/shaped.ptx"),
    include_str!("../seeds/spaces.ptx"),
];

/// Numbers at which something changes.
const NUMBERS: [&str; 24] = [
    "0",
    "1",
    "2",
    "3",
    "4",
    "7",
    "8",
    "15",
    "16",
    "31",
    "32",
    "33",
    "63",
    "64",
    "255",
    "65536",
    "1048576",
    "0x7fffffff",
    "0x80000000",
    "0xffffffff",
    "1099511627775",
    "0x7fffffffffffffff",
    "0xffffffffffffffff",
    "0f7F800001",
];

/// Mutates a text in place, as libFuzzer's custom mutators do, and returns its new length.
pub fn text(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let mut random = Random::new(seed.into());
    let plain = random.below(4) == 0;
    let changed = match std::str::from_utf8(&data[..size]) {
        Ok(text) if !plain => (0..=random.below(3)).fold(text.to_owned(), |text, _| change(&text, &mut random)),
        _ => return fuzzer_mutate(data, size, max_size),
    };
    if changed.is_empty() || changed.len() > max_size {
        return fuzzer_mutate(data, size, max_size);
    }
    data[..changed.len()].copy_from_slice(changed.as_bytes());
    changed.len()
}

/// A text with one change.
pub fn change(text: &str, random: &mut Random) -> String {
    match random.below(8) {
        0 => lines(text, random, |lines, random| {
            lines.remove(random.below(lines.len()));
        }),
        1 => lines(text, random, |lines, random| {
            let line = lines[random.below(lines.len())];
            lines.insert(random.below(lines.len() + 1), line);
        }),
        2 => lines(text, random, |lines, random| {
            let (a, b) = (random.below(lines.len()), random.below(lines.len()));
            lines.swap(a, b);
        }),
        3 | 4 => lines(text, random, |lines, random| {
            let from: Vec<&str> = SEEDS[random.below(SEEDS.len())].lines().collect();
            lines.insert(random.below(lines.len() + 1), from[random.below(from.len())]);
        }),
        5 => word(text, random, |random, old| {
            let number = old.starts_with(|c: char| c.is_ascii_digit());
            let same_kind = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit()) == number;
            pick(text, random, same_kind)
        }),
        6 => word(text, random, |random, _| pick(SEEDS[random.below(SEEDS.len())], random, |_| true)),
        _ => word(text, random, |random, old| {
            if old.starts_with(|c: char| c.is_ascii_digit()) {
                return NUMBERS[random.below(NUMBERS.len())].to_owned();
            }
            // One part of an opcode, from another opcode.
            let mut parts: Vec<&str> = old.split('.').collect();
            let other = pick(SEEDS[random.below(SEEDS.len())], random, |word| word.contains('.'));
            let others: Vec<&str> = other.split('.').collect();
            let at = random.below(parts.len());
            match random.below(3) {
                0 if parts.len() > 1 => {
                    parts.remove(at);
                }
                1 => parts.insert(at + 1, others[random.below(others.len())]),
                _ => parts[at] = others[random.below(others.len())],
            }
            parts.join(".")
        }),
    }
}

fn lines(text: &str, random: &mut Random, edit: impl for<'a> FnOnce(&mut Vec<&'a str>, &mut Random)) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    if lines.is_empty() {
        lines.push("");
    }
    edit(&mut lines, random);
    lines.join("\n")
}

/// Byte ranges of the words: names, opcodes with their modifiers, registers, numbers.
fn words(text: &str) -> Vec<(usize, usize)> {
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '%' | '$' | ':');
    let mut words = Vec::new();
    let mut start = None;
    for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
        match (start, inside(c)) {
            (None, true) => start = Some(at),
            (Some(from), false) => {
                words.push((from, at));
                start = None;
            }
            _ => {}
        }
    }
    words
}

fn pick(text: &str, random: &mut Random, wanted: impl Fn(&&str) -> bool) -> String {
    let words: Vec<&str> = words(text).into_iter().map(|(start, end)| &text[start..end]).filter(wanted).collect();
    words.get(random.below(words.len())).map_or(String::new(), |word| (*word).to_owned())
}

fn word(text: &str, random: &mut Random, other: impl FnOnce(&mut Random, &str) -> String) -> String {
    let words = words(text);
    let Some(&(start, end)) = words.get(random.below(words.len())) else {
        return text.to_owned();
    };
    let new = other(random, &text[start..end]);
    format!("{}{new}{}", &text[..start], &text[end..])
}
