//! Tables in Markdown.

use super::{NOT_A_TIMING, baselines, distinct, heading, titles};
use crate::report::{Cell, Report};
use std::fmt::Write;

/// All of a report: what it is of, and a table of every cell.
pub fn markdown(report: &Report) -> String {
    let mut text = format!("# {}\n\n{}", heading(report), facts(report));
    text.push('\n');
    text.push_str(&if report.timing { timed(report) } else { counted(report) });
    if !report.cold_starts.is_empty() {
        text.push_str(
            "\n## Cold start\n\nFrom a context to the end of the first launch, the driver's cache disabled.\n\n",
        );
        let rows = report.cold_starts.iter().map(|start| {
            let time = start.milliseconds.map(|time| format!("{time:.1}"));
            [start.module.clone(), or_dash(time), start.missing.clone().unwrap_or_default()].to_vec()
        });
        text.push_str(&table(&["module", "ms", "not measured"], &[1], rows));
    }
    text
}

/// What a report is of: a list.
fn facts(report: &Report) -> String {
    let mut text = String::new();
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "- {name}: {value}");
        }
    };
    let (device, clocks) = (&report.device, &report.clocks);
    add(NOT_A_TIMING, report.not_a_timing.clone());
    add("commit", Some(report.commit.clone().unwrap_or_else(|| "not known".to_owned())));
    add("GPU", Some(device.name.clone()));
    add("instead of a GPU", device.instead_of_gpu.clone());
    let version = |version: &String| format!("{version} (CUDA {})", device.cuda_driver.as_deref().unwrap_or("?"));
    add(
        "driver",
        clocks.driver.as_ref().map(version).or(device.cuda_driver.clone().map(|cuda| format!("CUDA {cuda}"))),
    );
    let mhz = |now: Option<f64>, max: Option<f64>| {
        Some(format!("{} of {} MHz", or_dash(now.map(|mhz| format!("{mhz:.0}"))), max?))
    };
    add("clock of the multiprocessors", mhz(clocks.sm_mhz, clocks.max_sm_mhz));
    add("clock of the memory", mhz(clocks.memory_mhz, clocks.max_memory_mhz));
    add("power limit", clocks.power_limit_w.map(|watts| format!("{watts:.0} W")));
    add("clocks", clocks.unknown.as_ref().map(|reason| format!("not known: {reason}")));
    add("sample", Some(report.method.sample.clone()));
    if let Some(copy) = &report.copy {
        let (mib, speed, spread) = (copy.bytes >> 20, copy.gb_per_s, 100.0 * copy.time.spread());
        add(
            "copy in device memory",
            Some(format!("{speed:.0} GB/s (spread {spread:.1} %), of {mib} MiB read and written")),
        );
    }
    for missing in &report.missing {
        add("missing", Some(format!("{}: {}", missing.baseline, missing.reason)));
    }
    text
}

fn timed(report: &Report) -> String {
    let names = baselines(report);
    let mut headings = vec!["op", "type", "shape", "µs", "spread %", "GB/s", "of copy %"];
    let over: Vec<String> = names.iter().map(|name| format!("× {name}")).collect();
    headings.extend(over.iter().map(String::as_str));
    headings.push("larger than L2");
    let rows = report.cells.iter().map(|cell| {
        let mut row = vec![cell.title(), cell.dtype.clone(), cell.shape()];
        row.push(or_dash(cell.time.map(|time| format!("{:.2}", time.median_us))));
        row.push(or_dash(cell.time.map(|time| format!("{:.1}", 100.0 * time.spread()))));
        row.push(or_dash(cell.gb_per_s.map(|speed| format!("{speed:.0}"))));
        row.push(or_dash(cell.copy_share.map(percent)));
        row.extend(names.iter().map(|name| or_dash(speed_up(cell, name).map(|ratio| format!("{ratio:.2}")))));
        row.push(or_dash(cell.buffers.map(|buffers| if buffers.larger_than_l2 { "yes" } else { "no" }.to_owned())));
        row
    });
    let right: Vec<usize> = (2..headings.len()).collect();
    let note = "A speed-up × is the baseline's time over warpnorm's. The spread is the distance of the quartiles over \
                the median.\n\n";
    format!("## Times\n\n{note}{}", table(&headings, &right, rows))
}

fn counted(report: &Report) -> String {
    let headings = [
        "op",
        "type",
        "shape",
        "kernel",
        "bytes moved",
        "floor bytes",
        "moved / floor",
        "sectors",
        "instructions / element",
    ];
    let rows = report.cells.iter().map(|cell| {
        let mut row = vec![cell.title(), cell.dtype.clone(), cell.shape()];
        let counters = cell.counters.as_ref();
        row.push(or_dash(counters.map(|counters| counters.kernel.clone())));
        row.push(or_dash(counters.map(|counters| counters.distinct_bytes.to_string())));
        row.push(or_dash(cell.floor_bytes.map(|bytes| bytes.to_string())));
        row.push(or_dash(moved_over_floor(cell).map(|ratio| format!("{ratio:.3}"))));
        row.push(or_dash(counters.map(|counters| counters.sectors.to_string())));
        row.push(or_dash(counters.map(|counters| format!("{:.1}", counters.instructions_per_element))));
        row
    });
    if report.cells.is_empty() {
        return "Nothing was measured.\n".to_owned();
    }
    format!("## Counters ({NOT_A_TIMING})\n\n{}", table(&headings, &[2, 4, 5, 6, 7, 8], rows))
}

/// Bytes moved over those that must be.
pub(super) fn moved_over_floor(cell: &Cell) -> Option<f64> {
    let (counters, floor) = (cell.counters.as_ref()?, cell.floor_bytes?);
    (floor > 0).then(|| counters.distinct_bytes as f64 / floor as f64)
}

pub(super) fn speed_up(cell: &Cell, baseline: &str) -> Option<f64> {
    cell.baseline(baseline)?.speed_up
}

/// For each op and type the bandwidth by hidden size, at the largest number of rows that there is of it; and for each
/// baseline the least, the middle and the largest speed-up over all shapes.
pub fn summary(report: &Report) -> String {
    let hidden: Vec<u64> = {
        let mut all = distinct(report.cells.iter().filter(|cell| cell.gb_per_s.is_some()).map(|cell| cell.hidden));
        all.sort_unstable();
        all
    };
    let mut headings = vec!["op".to_owned(), "type".to_owned()];
    headings.extend(hidden.iter().map(u64::to_string));
    let mut rows = Vec::new();
    for title in titles(report) {
        for dtype in distinct(report.cells.iter().map(|cell| cell.dtype.clone())) {
            let best = |hidden: &u64| {
                let here = report.cells.iter().filter(|cell| {
                    cell.title() == title && cell.dtype == dtype && cell.hidden == *hidden && cell.gb_per_s.is_some()
                });
                let cell = here.max_by_key(|cell| cell.rows)?;
                let share = cell.copy_share.map(|share| format!(" ({} %)", percent(share))).unwrap_or_default();
                Some(format!("{:.0}{share}", cell.gb_per_s?))
            };
            let found: Vec<Option<String>> = hidden.iter().map(best).collect();
            if found.iter().any(Option::is_some) {
                rows.push([title.clone(), dtype].into_iter().chain(found.into_iter().map(or_dash)).collect());
            }
        }
    }
    let right: Vec<usize> = (2..headings.len()).collect();
    let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
    let mut text = format!(
        "GB/s of the byte floor, and its share of a copy in device memory, by hidden size, at the most rows measured:\n\n{}",
        table(&headings, &right, rows.into_iter())
    );
    let ratios = |name: &String| {
        let mut all: Vec<f64> = report.cells.iter().filter_map(|cell| speed_up(cell, name)).collect();
        all.sort_by(f64::total_cmp);
        let shown = |ratio: Option<&f64>| or_dash(ratio.map(|ratio| format!("{ratio:.2}")));
        vec![name.clone(), all.len().to_string(), shown(all.first()), shown(all.get(all.len() / 2)), shown(all.last())]
    };
    let names = baselines(report);
    if !names.is_empty() {
        let headings = ["baseline", "cells", "least speed-up", "middle", "largest"];
        text.push_str("\nSpeed-up over each baseline, over all cells:\n\n");
        text.push_str(&table(&headings, &[1, 2, 3, 4], names.iter().map(ratios)));
    }
    text
}

fn percent(share: f64) -> String {
    format!("{:.0}", 100.0 * share)
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

fn table(headings: &[&str], right: &[usize], rows: impl Iterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|").replace('\n', " ")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let rule = |column: usize| if right.contains(&column) { "---:" } else { "---" };
    let rules: Vec<&str> = (0..headings.len()).map(rule).collect();
    let headings: Vec<String> = headings.iter().map(|heading| (*heading).to_owned()).collect();
    let mut text = line(&headings) + &format!("| {} |\n", rules.join(" | "));
    rows.for_each(|row| text.push_str(&line(&row)));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{counted as counted_report, timed as timed_report};

    #[test]
    fn a_table_of_times_has_every_cell_and_its_numbers() {
        let report = timed_report();
        let text = markdown(&report);
        let rows = text.lines().filter(|line| line.starts_with("| layer-norm") || line.starts_with("| rms-norm"));
        assert_eq!(rows.count(), report.cells.len());
        // 8 rows of 64: 2 µs and a bit, 4224 bytes; the copy takes 0.9 of it and cuBLAS 5 times as long.
        let first = text.lines().find(|line| line.contains("| 8x64 |")).unwrap();
        assert_eq!(first, "| layer-norm | bf16 | 8x64 | 2.00 | 15.0 | 1 | 0 | 0.90 | 5.00 | yes |");
        assert!(text.contains("- copy in device memory: 3579 GB/s (spread 15.0 %), of 1024 MiB"), "{text}");
        assert!(!text.contains(NOT_A_TIMING));
    }

    #[test]
    fn what_is_no_timing_has_no_unit_of_time() {
        let text = markdown(&counted_report());
        assert!(text.starts_with("# A GPU of tests (emulated): not a timing\n"), "{text}");
        assert!(text.contains("## Counters (not a timing)"));
        for unit in ["µs", "GB/s", " ms"] {
            assert!(!text.contains(unit), "{unit}: {text}");
        }
        assert!(text.contains("| kernel |") && text.contains("| 21.6 |"), "{text}");
    }

    #[test]
    fn the_summary_takes_the_most_rows() {
        let text = summary(&timed_report());
        let line = text.lines().find(|line| line.starts_with("| rms-norm")).unwrap();
        // 8192 rows of 4096: 41.945 ms... in µs 2 + 8192·4096/8e5 = 43.943; bytes 8192·4096·4 + 8192.
        let wanted = (8192.0 * 4096.0 * 4.0 + 8192.0) / 43.943_04 / 1e3;
        assert!(line.contains(&format!("| {wanted:.0} ({:.0} %) |", 100.0 * wanted / 3579.139)), "{line}");
        assert!(text.contains("| cublas | 16 | 5.00 | 5.00 | 5.00 |"), "{text}");
    }
}
