//! What is asked of a result.

use super::Fill;
use warpnorm::host::{Device, Output, Placement, Problem, Vector};
use warpnorm::parity::{Values, Verdict, judge};
use warpnorm::quantise::Quantisation;
use warpnorm::reference::{Row, Rows, decode};
use warpnorm::{DType, Family, Input};

/// How much of the tolerance is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Promise {
    /// Nothing but that the launch has no fault.
    Nothing,
    /// NaN and infinities where the reference has them, and the exact residual stream.
    Finite,
    /// Each element within the tolerance, but not how many are correctly rounded.
    Each,
    /// All of it.
    Whole,
}

/// Holds an output against the reference.
pub fn judged(problem: &Problem<'_>, output: &Output, fill: Fill) {
    let verdict = judge(problem, output).expect("the problem is valid");
    // Codes of a y that is there follow from it to the bit, whatever it is.
    if problem.outputs.y {
        assert_eq!(verdict.code_mismatches, 0, "codes or scales are not those of y: {:?}", problem.norm);
    }
    if verdict.passed {
        return;
    }
    let asked = promise(problem, fill);
    if asked > kept(&verdict) {
        let worst = verdict.worst.map_or(String::new(), |worst| inputs_of(problem, worst.row, worst.column));
        panic!("{asked:?} asked: {verdict:#?}\n{worst}");
    }
}

/// Holds the output of an op of several steps against the reference. Towards the ends of f32's range each step has
/// limits of its own, and which of them is met first is not for the verdict to say.
pub fn kept_but_for_extremes(problem: &Problem<'_>, output: &Output, values: Values) {
    let verdict = judge(problem, output).expect("the problem is valid");
    let post = match problem.norm.input {
        Input::PostNorm(add) => Some(add),
        _ => problem.norm.post_add,
    };
    let asked = match values {
        // A small factor takes the sum among f32's denormals, whatever the values are.
        _ if post.is_some_and(|add| add.scale.abs() < 1e-30) => Promise::Nothing,
        Values::Unit | Values::LargeMean | Values::OutlierChannel => Promise::Whole,
        Values::Constant => Promise::Each,
        _ => Promise::Nothing,
    };
    let kept = if verdict.passed { Promise::Whole } else { kept(&verdict) };
    assert!(asked <= kept, "{asked:?} asked: {verdict:#?}");
}

/// Holds an output without y against the run that has it, and that against the reference: which of two values
/// y is near a tie is not for the codes to say.
pub fn judged_without_y(problem: &Problem<'_>, output: &Output, device: &impl Device, fill: Fill) {
    if problem.norm.quantisation == Some(Quantisation::per_tensor_wide()) {
        // There is no y beside these.
        return judged(problem, output, fill);
    }
    let mut with_y = *problem;
    with_y.outputs.y = true;
    let beside = device.run(&with_y, Placement::default()).expect("what runs without y runs with it");
    assert_eq!((&output.codes, &output.scales), (&beside.codes, &beside.scales), "with y, and without");
    assert_eq!(output.y.len(), 0);
    let whole = Output { y: beside.y, ..output.clone() };
    judged(&with_y, &whole, fill);
}

/// How much of the tolerance a verdict that did not pass has kept.
fn kept(verdict: &Verdict) -> Promise {
    let Verdict { max_ulp, mean_max_ulp, rstd_max_ulp, tolerance, .. } = *verdict;
    let statistics = [mean_max_ulp, rstd_max_ulp].into_iter().flatten();
    if verdict.nonfinite_mismatches != 0 || verdict.residual_mismatches != 0 {
        Promise::Nothing
    } else if max_ulp > tolerance.max_ulp || statistics.fold(0.0, f64::max) > tolerance.statistic_ulp {
        Promise::Finite
    } else {
        Promise::Each
    }
}

/// Whether LayerNorm's variance is so large that its rstd may be 0, by the reference's docs.
fn near_the_end(row: &Row, hidden: usize) -> bool {
    let hidden = hidden as f64;
    row.rstd.powi(-2) * hidden * (1.0 + hidden) >= f64::from(f32::MAX)
}

fn promise(problem: &Problem<'_>, fill: Fill) -> Promise {
    let rows: Vec<Row> = Rows::new(problem).expect("the problem is valid").iter().collect();
    // Whether v is zero or all but zero, a rounding decides, and an infinite weight makes NaN of the one and
    // an infinity of the other.
    let infinite = |vector: Vector<'_>| decode(vector.dtype, vector.bytes).iter().any(|weight| weight.is_infinite());
    if problem.weight.is_some_and(infinite) {
        return Promise::Nothing;
    }
    match fill {
        // Where squares vanish and eps is 0, all but the mean itself is infinite. Of an element that lies within a
        // denormal of the mean, the mean's last rounding decides the sign, and there is no finer number to hold it.
        Fill::Kind(Values::Denormals | Values::Extremes) if rows.iter().any(|row| row.rstd.is_infinite()) => {
            Promise::Nothing
        }
        // The squares that the kernel adds up may pass f32's range where those about the mean do not.
        _ if problem.norm.family == Family::LayerNorm && rows.iter().any(|row| near_the_end(row, problem.hidden)) => {
            Promise::Nothing
        }
        // Whether v overflows before an activation of nearly 0 brings it back, f32's range decides.
        Fill::Bits | Fill::Band { .. } | Fill::Kind(Values::Extremes) if problem.norm.gate.is_some() => {
            Promise::Nothing
        }
        // Where a mean square or a product is among f32's denormals, how many bits of it are left is for
        // nobody to say.
        Fill::Bits | Fill::Band { .. } if rows.iter().any(|row| row.rstd > 2f64.powi(62)) => Promise::Nothing,
        Fill::Bits | Fill::Band { .. } => Promise::Finite,
        Fill::Kind(Values::Unit | Values::LargeMean | Values::OutlierChannel) => Promise::Whole,
        // Where one value fills a row, one rounding decides for all of it.
        Fill::Kind(_) => Promise::Each,
    }
}

/// What an element was computed from, as far as one can take it in.
fn inputs_of(problem: &Problem<'_>, row: usize, column: usize) -> String {
    let part = |dtype: DType, bytes: &[u8], from: usize| {
        let values = decode(dtype, bytes);
        values[from..values.len().min(from + 8)].iter().map(|value| format!("{value:e} ")).collect::<String>()
    };
    let at = row * problem.hidden;
    let matrix =
        |bytes| format!("row {} column {}", part(problem.dtype, bytes, at), part(problem.dtype, bytes, at + column));
    let vector = |vector: Vector<'_>| part(vector.dtype, vector.bytes, column);
    format!(
        "x {}\nresidual {:?}\nweight {:?}\nbias {:?}",
        matrix(problem.x),
        problem.residual.map(matrix),
        problem.weight.map(vector),
        problem.bias.map(vector)
    )
}
