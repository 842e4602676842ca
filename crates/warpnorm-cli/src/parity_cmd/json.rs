//! The report of `parity` for machines.

use super::{Cell, points};
use crate::cli::ParityArguments;
use crate::device::Chosen;
use crate::quantise::{block_rounding_name, layout_name};
use crate::report::{Outcome, PtxJson};
use crate::words::NormJson;
use serde::{Serialize, Serializer};
use warpnorm::parity::{Tolerance, Verdict, Worst};
use warpnorm::plan::{ColumnPlan, Kernel, Plan};
use warpnorm::ptx;
use warpnorm::quantise::{Quantisation, ScaleLayout, ScaleType, Scaling};
use warpnorm::{DType, PositionType};

/// A number that may be NaN or infinite, which JSON has no numbers for: then the string `NaN`, `inf`
/// or `-inf`.
struct Number(f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_finite() { serializer.serialize_f64(self.0) } else { serializer.collect_str(&self.0) }
    }
}

#[derive(Serialize)]
struct ReportJson {
    warpnorm: &'static str,
    passed: bool,
    device: DeviceJson,
    ptx: PtxJson,
    /// The file, for data from one.
    input: Option<String>,
    /// The seed, for generated data.
    seed: Option<u64>,
    cells: Vec<CellJson>,
}

#[derive(Serialize)]
struct DeviceJson {
    kind: &'static str,
    name: String,
    compute_capability: Option<String>,
    multiprocessors: Option<u32>,
    /// The CUDA version that the driver states.
    driver: Option<String>,
    instead_of_gpu: Option<String>,
}

#[derive(Serialize)]
struct CellJson {
    #[serde(flatten)]
    norm: NormJson,
    quantisation: Option<QuantisationJson>,
    dtype: &'static str,
    weight_dtype: Option<&'static str>,
    bias_dtype: Option<&'static str>,
    gate_dtype: Option<&'static str>,
    linear_bias_dtype: Option<&'static str>,
    inner_weight_dtype: Option<&'static str>,
    rate_dtype: Option<&'static str>,
    /// The type of cos and sin.
    tables_dtype: Option<&'static str>,
    positions_dtype: Option<&'static str>,
    rows: usize,
    /// Heads or groups of a row; 1 where it is normalised whole.
    parts: usize,
    /// Heads of a row of the second tensor.
    second_parts: Option<usize>,
    /// Elements of a row, or of a part of it.
    hidden: usize,
    data: String,
    /// Of batch normalisation, that of the affine op at its end.
    plan: Option<PlanJson>,
    /// Of batch normalisation's statistics.
    statistics_plan: Option<ColumnPlanJson>,
    verdict: VerdictJson,
}

#[derive(Serialize)]
struct QuantisationJson {
    scaling: &'static str,
    code: &'static str,
    /// Elements that share a scale, where not all of a row do.
    group: Option<usize>,
    /// The type of the scales that are made.
    scale_type: Option<&'static str>,
    scale_layout: &'static str,
    scale_alignment: Option<usize>,
    power_of_two: Option<bool>,
    upper_bound: Option<f32>,
    block_rounding: Option<&'static str>,
    /// The scale that is given.
    tensor_scale: Option<Number>,
}

#[derive(Serialize)]
struct PlanJson {
    kernel: &'static str,
    /// Compute capability × 10 of the PTX.
    target: Option<u32>,
    /// The ISA of the PTX.
    isa: Option<String>,
    regime: &'static str,
    team_threads: u32,
    grid: u32,
    block: u32,
    cluster: u32,
    shared_bytes: u32,
}

#[derive(Serialize)]
struct ColumnPlanJson {
    kernel: &'static str,
    target: Option<u32>,
    isa: Option<String>,
    tile: u32,
    grid: u32,
    block: u32,
}

#[derive(Serialize)]
struct VerdictJson {
    passed: bool,
    elements: usize,
    max_ulp: Number,
    mean_ulp: Number,
    correctly_rounded: Number,
    misrounded: usize,
    relative_l2: Number,
    nonfinite_mismatches: usize,
    residual_mismatches: usize,
    code_mismatches: usize,
    mean_max_ulp: Option<Number>,
    rstd_max_ulp: Option<Number>,
    worst: Option<WorstJson>,
    tolerance: ToleranceJson,
}

#[derive(Serialize)]
struct WorstJson {
    row: usize,
    column: usize,
    got: Number,
    wanted: Number,
    ulp: Number,
}

#[derive(Serialize)]
struct ToleranceJson {
    max_ulp: Number,
    correctly_rounded: Number,
    statistic_ulp: Number,
    mean_error: Number,
}

/// The report as text, ending in a line break.
pub fn render(arguments: &ParityArguments, chosen: &Chosen, cells: &[Cell], outcome: Outcome) -> String {
    let version = |(major, minor): (u32, u32)| format!("{major}.{minor}");
    let report = ReportJson {
        warpnorm: env!("CARGO_PKG_VERSION"),
        passed: outcome == Outcome::Passed,
        device: DeviceJson {
            kind: chosen.kind,
            name: chosen.device.name(),
            compute_capability: chosen.facts.as_ref().map(|facts| version(facts.compute_capability)),
            multiprocessors: chosen.facts.as_ref().map(|facts| facts.multiprocessors),
            driver: chosen.driver.map(version),
            instead_of_gpu: chosen.instead_of_gpu.as_ref().map(ToString::to_string),
        },
        ptx: PtxJson::of_this_build(),
        input: arguments.input.as_ref().map(|path| path.display().to_string()),
        seed: arguments.input.is_none().then(|| points::seed(arguments)),
        cells: cells.iter().map(|cell| cell_json(chosen, cell)).collect(),
    };
    // Strings, numbers and lists always have a JSON form.
    let mut text = serde_json::to_string_pretty(&report).unwrap_or_default();
    text.push('\n');
    text
}

fn cell_json(chosen: &Chosen, cell: &Cell) -> CellJson {
    let (norm, beside) = (&cell.norm, &cell.beside);
    let name = |dtype: Option<DType>| dtype.map(|dtype| dtype.name());
    CellJson {
        norm: cell.batch.map_or_else(|| NormJson::new(norm), |batch| NormJson::of_batch_norm(batch.statistics)),
        quantisation: norm.quantisation.map(|quantisation| quantisation_json(quantisation, cell.tensor_scale)),
        dtype: cell.dtype.name(),
        weight_dtype: name(cell.weight),
        bias_dtype: name(cell.bias),
        gate_dtype: name(beside.gate),
        linear_bias_dtype: name(beside.linear_bias),
        inner_weight_dtype: name(beside.inner_weight),
        rate_dtype: name(beside.rate),
        tables_dtype: name(beside.tables),
        positions_dtype: beside.positions.map(|kind| match kind {
            PositionType::I32 => "i32",
            PositionType::I64 => "i64",
        }),
        rows: cell.rows,
        parts: cell.parts,
        second_parts: beside.second_parts,
        hidden: cell.hidden,
        data: cell.data.clone(),
        plan: cell.plan.as_ref().map(|plan| plan_json(chosen, plan)),
        statistics_plan: cell.batch.and_then(|batch| batch.plan).map(|plan| column_plan_json(chosen, &plan)),
        verdict: verdict_json(&cell.verdict),
    }
}

fn quantisation_json(Quantisation { code, scaling }: Quantisation, tensor_scale: Option<f32>) -> QuantisationJson {
    let mut json = QuantisationJson {
        scaling: scaling.name(),
        code: code.name(),
        group: scaling.group(),
        scale_type: scaling.scale_type().map(ScaleType::name),
        scale_layout: layout_name(scaling.layout()),
        scale_alignment: None,
        power_of_two: None,
        upper_bound: None,
        block_rounding: None,
        tensor_scale: tensor_scale.map(|scale| Number(scale.into())),
    };
    if let ScaleLayout::ColumnMajor { alignment } = scaling.layout() {
        json.scale_alignment = Some(alignment);
    }
    match scaling {
        Scaling::PerToken { upper_bound } => json.upper_bound = upper_bound,
        Scaling::PerGroup { power_of_two, .. } => json.power_of_two = Some(power_of_two),
        Scaling::Mxfp8 { rounding, .. } => json.block_rounding = Some(block_rounding_name(rounding)),
        Scaling::PerTensor | Scaling::PerTensorWide | Scaling::Nvfp4 { .. } => {}
    }
    json
}

fn plan_json(chosen: &Chosen, plan: &Plan) -> PlanJson {
    let (target, isa) = ptx_of(chosen, plan.kernel);
    PlanJson {
        kernel: plan.kernel.name(),
        target,
        isa,
        regime: plan.regime.name(),
        team_threads: plan.team.threads,
        grid: plan.grid,
        block: plan.block_threads(),
        cluster: plan.cluster,
        shared_bytes: plan.shared_bytes,
    }
}

fn column_plan_json(chosen: &Chosen, plan: &ColumnPlan) -> ColumnPlanJson {
    let (target, isa) = ptx_of(chosen, plan.kernel);
    let ColumnPlan { kernel, tile, grid, block, .. } = *plan;
    ColumnPlanJson { kernel: kernel.name(), target, isa, tile, grid, block }
}

/// Target and ISA of the PTX that the device runs.
fn ptx_of(chosen: &Chosen, kernel: Kernel) -> (Option<u32>, Option<String>) {
    let module = chosen
        .facts
        .as_ref()
        .and_then(|facts| ptx::select(kernel.module(), facts.compute_capability, chosen.driver).ok());
    module.map(|module| (module.target, format!("{}.{}", module.isa.0, module.isa.1))).unzip()
}

fn verdict_json(verdict: &Verdict) -> VerdictJson {
    let worst = |Worst { row, column, got, wanted, ulp }| WorstJson {
        row,
        column,
        got: Number(got),
        wanted: Number(wanted),
        ulp: Number(ulp),
    };
    let Tolerance { max_ulp, correctly_rounded, statistic_ulp, mean_error } = verdict.tolerance;
    VerdictJson {
        passed: verdict.passed,
        elements: verdict.elements,
        max_ulp: Number(verdict.max_ulp),
        mean_ulp: Number(verdict.mean_ulp),
        correctly_rounded: Number(verdict.correctly_rounded),
        misrounded: verdict.misrounded,
        relative_l2: Number(verdict.relative_l2),
        nonfinite_mismatches: verdict.nonfinite_mismatches,
        residual_mismatches: verdict.residual_mismatches,
        code_mismatches: verdict.code_mismatches,
        mean_max_ulp: verdict.mean_max_ulp.map(Number),
        rstd_max_ulp: verdict.rstd_max_ulp.map(Number),
        worst: verdict.worst.map(worst),
        tolerance: ToleranceJson {
            max_ulp: Number(max_ulp),
            correctly_rounded: Number(correctly_rounded),
            statistic_ulp: Number(statistic_ulp),
            mean_error: Number(mean_error),
        },
    }
}
