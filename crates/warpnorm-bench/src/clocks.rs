//! The clocks of a GPU, as `nvidia-smi` tells them.

use serde::{Deserialize, Serialize};
use std::process::Command;

/// What is known of the clocks of a GPU when it was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clocks {
    /// The driver's version, such as `570.86.10`.
    pub driver: Option<String>,
    /// The clock of the multiprocessors, at the end of the run, in MHz.
    pub sm_mhz: Option<f64>,
    /// The most that it can be.
    pub max_sm_mhz: Option<f64>,
    /// The clock of the memory, in MHz.
    pub memory_mhz: Option<f64>,
    /// The most that it can be.
    pub max_memory_mhz: Option<f64>,
    /// In watts.
    pub power_limit_w: Option<f64>,
    /// In degrees Celsius.
    pub temperature_c: Option<f64>,
    /// Why nothing is known.
    pub unknown: Option<String>,
}

/// In the order of the fields above.
const QUERY: &str = "driver_version,clocks.sm,clocks.max.sm,clocks.mem,clocks.max.mem,power.limit,temperature.gpu";

impl Clocks {
    /// Nothing is known, for this reason.
    pub fn unknown(reason: &str) -> Self {
        Self { unknown: Some(reason.to_owned()), ..Self::default() }
    }

    /// Asks for those of a GPU by its PCI bus id, or of the first one.
    pub fn query(bus_id: Option<&str>) -> Self {
        let mut command = Command::new("nvidia-smi");
        command.arg(format!("--query-gpu={QUERY}")).arg("--format=csv,noheader,nounits");
        command.arg("-i").arg(bus_id.unwrap_or("0"));
        match command.output() {
            Err(error) => Self::unknown(&format!("nvidia-smi cannot be run: {error}")),
            Ok(output) if !output.status.success() => Self::unknown(&format!("nvidia-smi failed: {}", output.status)),
            Ok(output) => Self::parse(&String::from_utf8_lossy(&output.stdout)),
        }
    }

    /// What a line of `nvidia-smi` says; a value that it has no number for is none.
    fn parse(text: &str) -> Self {
        let line = text.lines().next().unwrap_or_default();
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let [driver, numbers @ ..] = &fields[..] else { return Self::unknown("nvidia-smi said nothing") };
        let number = |index: usize| numbers.get(index).and_then(|field| field.parse::<f64>().ok());
        if numbers.len() != 6 {
            return Self::unknown(&format!("nvidia-smi gave {} values, wanted 7", fields.len()));
        }
        Self {
            driver: Some((*driver).to_owned()),
            sm_mhz: number(0),
            max_sm_mhz: number(1),
            memory_mhz: number(2),
            max_memory_mhz: number(3),
            power_limit_w: number(4),
            temperature_c: number(5),
            unknown: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_nvidia_smi() {
        let clocks = Clocks::parse("570.86.10, 1980, 1980, 3201, 3201, 700.00, 41\n");
        assert_eq!(clocks.driver.as_deref(), Some("570.86.10"));
        assert_eq!([clocks.sm_mhz, clocks.max_sm_mhz, clocks.memory_mhz].map(Option::unwrap), [1980.0, 1980.0, 3201.0]);
        assert_eq!((clocks.power_limit_w, clocks.temperature_c, clocks.unknown), (Some(700.0), Some(41.0), None));
    }

    #[test]
    fn what_it_does_not_know_is_none() {
        let clocks = Clocks::parse("535.1, [N/A], 1410, [N/A], 1215, [N/A], 30");
        assert_eq!((clocks.sm_mhz, clocks.max_sm_mhz, clocks.power_limit_w), (None, Some(1410.0), None));
        for text in ["", "No devices were found"] {
            assert!(Clocks::parse(text).unknown.is_some());
        }
    }
}
