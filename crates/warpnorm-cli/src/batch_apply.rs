//! `warpnorm apply --op batch-norm`.

use crate::batch::{self, Applied};
use crate::cli::ApplyArguments;
use crate::device::{Chosen, column_plan_line, plan_line};
use crate::error::ToolError;
use crate::files::{Destination, FileFault, NormInput, OutputTensor, TensorFile, format_type, serialize};
use crate::ops::BATCH_NORM;
use crate::report::{self, Fields, Outcome};
use crate::tensors::parameter_words;
use warpnorm::host::BatchProblem;
use warpnorm::parity::Verdict;
use warpnorm::{DType, Norm};

/// Runs the command.
pub fn run(arguments: &ApplyArguments) -> Result<Outcome, ToolError> {
    let file = TensorFile::read(&arguments.input)?;
    let tensors = file.tensors()?;
    let present = tensors.present("")?;
    let statistics = batch::statistics(&arguments.norm, arguments.parts, &arguments.quantise)?;
    present.check_batch_norm()?;
    let input = tensors.norm_input("", Norm::affine(), 1)?;
    let problem = input.batch_problem(statistics);
    problem.validate()?;
    let destination = Destination::new(&arguments.output)?;
    let chosen = Chosen::open(&arguments.device)?;
    let applied = batch::apply(&chosen, &problem)?;
    let verdict = if arguments.quiet { None } else { Some(applied.judge(&problem)?) };

    let written = write(&destination, arguments, &input, &problem, &applied)?;
    let Some(verdict) = verdict else { return Ok(Outcome::Passed) };
    let mut fields = head(&chosen, &input, &problem, &applied);
    let unused = tensors.unused();
    if !unused.is_empty() {
        fields.add("not used", unused.join(", "));
    }
    fields.add("op", format!("{BATCH_NORM}, eps {:e}", statistics.eps));
    fields.add("against f64", against_f64(&verdict));
    fields.add("written", format!("{}: {}", arguments.output.display(), written.join(", ")));
    report::print(&fields.to_string())?;
    Ok(Outcome::of([&verdict]))
}

/// Writes the results and returns the names of their tensors.
fn write(
    destination: &Destination,
    arguments: &ApplyArguments,
    input: &NormInput<'_>,
    problem: &BatchProblem<'_>,
    applied: &Applied,
) -> Result<Vec<&'static str>, ToolError> {
    let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let (mean, rstd) = (bytes(&applied.statistics.mean), bytes(&applied.statistics.rstd));
    let columns = [problem.hidden];
    let tensors = [
        ("y", input.dtype, input.shape.as_slice(), &applied.y, true),
        ("mean", DType::F32, &columns, &mean, arguments.stats),
        ("rstd", DType::F32, &columns, &rstd, arguments.stats),
    ];
    let tensors: Vec<OutputTensor<'_>> = tensors
        .into_iter()
        .filter(|(.., wanted)| *wanted)
        .map(|(name, dtype, shape, bytes, _)| OutputTensor {
            name,
            dtype: format_type(dtype),
            shape: shape.to_vec(),
            bytes,
        })
        .collect();
    let names = tensors.iter().map(|tensor| tensor.name).collect();
    let provenance = format!("{}; {BATCH_NORM}; eps {:e}", env!("CARGO_PKG_VERSION"), problem.statistics.eps);
    let contents = serialize(tensors, ("warpnorm".to_owned(), provenance))
        .map_err(|error| ToolError::File { path: arguments.output.clone(), fault: FileFault::Format(error) })?;
    destination.write(&contents)?;
    Ok(names)
}

/// The lines of a summary that say what was run, and on what.
fn head(chosen: &Chosen, input: &NormInput<'_>, problem: &BatchProblem<'_>, applied: &Applied) -> Fields {
    let mut fields = Fields::default();
    fields.add("device", chosen.describe());
    match (&applied.columns, &applied.affine) {
        (Some(columns), Some(affine)) => {
            fields.add("kernel", column_plan_line(columns));
            fields.add("then", plan_line(affine));
        }
        _ => fields.add("kernel", "none: plain f64 arithmetic"),
    }
    let parts = [
        format!("{:?} {}: {} rows of {} columns", input.shape, input.dtype, problem.rows, problem.hidden),
        parameter_words("weight", problem.weight),
        parameter_words("bias", problem.bias),
    ];
    fields.add("input", parts.join(", "));
    fields
}

/// The verdict on one line, the statistics among it.
fn against_f64(verdict: &Verdict) -> String {
    let units = |error: Option<f64>| report::ulp(error.unwrap_or(0.0));
    let (mean, rstd) = (units(verdict.mean_max_ulp), units(verdict.rstd_max_ulp));
    format!("mean {mean} ULP, rstd {rstd} ULP, y {}", report::y_verdict_line(verdict))
}
