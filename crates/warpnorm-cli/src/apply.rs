//! `warpnorm apply`: a norm of the tensors of a file.

use crate::batch_apply;
use crate::cli::ApplyArguments;
use crate::device::{Chosen, plan_line};
use crate::error::ToolError;
use crate::files::{
    Destination, FileFault, NormInput, OutputTensor, TensorFile, codes_tensor, format_type, scales_tensor, serialize,
};
use crate::ops::{Named, Subject, op_name};
use crate::report::{self, Fields, Outcome};
use crate::tensors::{self, parameter_words};
use crate::words::describe;
use warpnorm::host::{Output, Outputs, Placement, Problem};
use warpnorm::parity::{Verdict, judge};
use warpnorm::{DType, Scope};

/// Runs the command.
pub fn run(arguments: &ApplyArguments) -> Result<Outcome, ToolError> {
    if let Some(Named::BatchNorm) = arguments.subject.op {
        return batch_apply::run(arguments);
    }
    let file = TensorFile::read(&arguments.input)?;
    let tensors = file.tensors()?;
    let present = tensors.present("")?;
    let quantised = arguments.quantise.quantised_file()?;
    let subject = subject(arguments)?;
    let quantisation = quantised.map(|quantised| quantised.quantisation);
    let norm = arguments.norm.norm(&subject, arguments.parts, quantisation, &present)?;
    let input = tensors.norm_input("", norm, arguments.parts.count().unwrap_or(1))?;
    let all = input.all_outputs();
    if arguments.stats && !all.rstd {
        let why =
            if input.second_shape.is_some() { "a second tensor of heads" } else { "an op that normalises nothing" };
        return Err(ToolError::Usage(format!("--stats does not go with {why}; see --help")));
    }
    let outputs = Outputs {
        y: quantised.is_none_or(|quantised| quantised.with_y),
        residual: all.residual,
        mean: arguments.stats && all.mean,
        rstd: arguments.stats,
    };
    let tensor_scale = quantised.and_then(|quantised| quantised.tensor_scale);
    let problem = input.problem(tensor_scale, outputs);
    problem.validate()?;
    let destination = Destination::new(&arguments.output)?;
    let chosen = Chosen::open(&arguments.device)?;
    let output = chosen.device.run(&problem, Placement::default())?;
    let verdict = if arguments.quiet { None } else { Some(judge(&problem, &output)?) };

    let written = write(&destination, arguments, &input, &problem, &output)?;
    let Some(verdict) = verdict else { return Ok(Outcome::Passed) };
    report::print(&summary(arguments, &chosen, &input, &problem, &verdict, &tensors.unused(), &written)?)?;
    Ok(Outcome::of([&verdict]))
}

/// What is asked for. One of the two options is there: the command line requires it.
fn subject(arguments: &ApplyArguments) -> Result<Subject, ToolError> {
    let asked = &arguments.subject;
    let op = asked.op.and_then(Named::norm).map(Subject::Op);
    op.or(asked.preset.map(Subject::Preset)).ok_or_else(|| ToolError::Usage("wanted --op or --preset".to_owned()))
}

/// Writes the results and returns the names of their tensors.
fn write(
    destination: &Destination,
    arguments: &ApplyArguments,
    input: &NormInput<'_>,
    problem: &Problem<'_>,
    output: &Output,
) -> Result<Vec<&'static str>, ToolError> {
    let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let mean = output.mean.as_deref().map(bytes);
    let rstd = output.rstd.as_deref().map(bytes);
    let y = problem.outputs.y.then_some(&output.y);
    let mut statistics = input.shape[..input.shape.len() - 1].to_vec();
    if problem.norm.scope != Scope::Row {
        statistics.push(input.parts);
    }
    let leading = statistics.as_slice();
    let second_shape = input.second_shape.as_deref().unwrap_or_default();
    let candidates = [
        ("y", input.dtype, input.shape.as_slice(), y),
        ("second_y", input.dtype, second_shape, output.second_y.as_ref()),
        ("residual", input.dtype, input.shape.as_slice(), output.residual.as_ref()),
        ("mean", DType::F32, leading, mean.as_ref()),
        ("rstd", DType::F32, leading, rstd.as_ref()),
    ];
    let mut tensors: Vec<OutputTensor<'_>> = candidates
        .into_iter()
        .filter_map(|(name, dtype, shape, bytes)| {
            Some(OutputTensor { name, dtype: format_type(dtype), shape: shape.to_vec(), bytes: bytes? })
        })
        .collect();
    if let Some(quantisation) = &problem.norm.quantisation {
        tensors.extend(output.codes.as_ref().map(|codes| codes_tensor(quantisation, &input.shape, codes)));
        tensors.extend(output.scales.as_ref().and_then(|scales| scales_tensor(quantisation, &input.shape, scales)));
    }
    let names = tensors.iter().map(|tensor| tensor.name).collect();
    let norm = &problem.norm;
    let scale = problem.tensor_scale.map_or(String::new(), |scale| format!(", tensor scale {scale}"));
    let parts = match norm.scope {
        Scope::Row => String::new(),
        Scope::Head => format!(" of {} heads", input.parts),
        Scope::Group => format!(" of {} groups", input.parts),
    };
    let provenance = format!("{}; {}{parts}; {}{scale}", env!("CARGO_PKG_VERSION"), op_name(norm), describe(norm));
    let contents = serialize(tensors, ("warpnorm".to_owned(), provenance))
        .map_err(|error| ToolError::File { path: arguments.output.clone(), fault: FileFault::Format(error) })?;
    destination.write(&contents)?;
    Ok(names)
}

fn summary(
    arguments: &ApplyArguments,
    chosen: &Chosen,
    input: &NormInput<'_>,
    problem: &Problem<'_>,
    verdict: &Verdict,
    unused: &[String],
    written: &[&str],
) -> Result<String, ToolError> {
    let mut fields = Fields::default();
    fields.add("device", chosen.describe());
    match chosen.plan(problem)? {
        Some(plan) => fields.add("kernel", plan_line(&plan)),
        None if chosen.facts.is_none() => fields.add("kernel", "none: plain f64 arithmetic"),
        None => fields.add("kernel", "none: there are no rows"),
    }
    let rows = match problem.norm.scope {
        Scope::Row => format!("{} rows of {}", input.rows, input.hidden),
        Scope::Head => format!("{} rows of {} heads of {}", input.rows, input.parts, input.hidden),
        Scope::Group => format!("{} rows of {} groups of {}", input.rows, input.parts, input.hidden),
    };
    let residual = if problem.residual.is_some() { "residual" } else { "no residual" };
    let mut parts = vec![
        format!("{:?} {}: {rows}", input.shape, input.dtype),
        residual.to_owned(),
        parameter_words("weight", problem.weight),
        parameter_words("bias", problem.bias),
    ];
    parts.extend(tensors::beside(problem).map(str::to_owned));
    fields.add("input", parts.join(", "));
    if !unused.is_empty() {
        fields.add("not used", unused.join(", "));
    }
    fields.add("op", format!("{}, {}", op_name(&problem.norm), describe(&problem.norm)));
    fields.add("against f64", report::verdict_line(verdict, problem));
    fields.add("written", format!("{}: {}", arguments.output.display(), written.join(", ")));
    Ok(fields.to_string())
}
