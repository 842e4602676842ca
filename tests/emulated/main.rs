//! The kernels under the executor: parity with the f64 reference for every op, type, option, regime and
//! placement; batch invariance; what they move.

#[path = "../support/mod.rs"]
mod support;

mod accuracy;
mod adversarial;
mod clusters;
mod empty_places;
mod fuzz_finds;
mod gated;
mod grid;
mod heads;
mod invariance;
mod large;
mod minilm;
mod paths;
mod placement;
mod programmatic;
mod quantise;
mod quantise_wide;
mod schedules;
mod traffic;
mod two_norms;

use support::Failures;
use warpnorm::DeviceFacts;
use warpnorm::emulated::Emulated;
use warpnorm::host::Placement;
use warpnorm::parity::{Case, check};

/// Runs a case on an emulated device and records its verdict.
fn judge(failures: &mut Failures, device: &DeviceFacts, case: &Case, placement: Placement) {
    let describe = |what: &dyn std::fmt::Debug| {
        let Case { norm, dtype, rows, hidden, weight, bias, .. } = case;
        let weight = weight.as_ref().map(|(dtype, _)| dtype);
        let bias = bias.as_ref().map(|(dtype, _)| dtype);
        format!(
            "{} {rows} × {hidden} {dtype} weight {weight:?} bias {bias:?} {norm:?} {placement:?}: {what:?}",
            device.name
        )
    };
    failures.record(match check(&Emulated::new(device.clone()), case, placement) {
        Ok(verdict) if verdict.passed => None,
        Ok(verdict) => Some(describe(&verdict)),
        Err(error) => Some(describe(&error)),
    });
}
