//! Rows whose values show what comes from where there is no row. Threads have places for more elements than most rows
//! have: a part of a chunk, chunks, lines, a second warp, a last slab, and all that a team has. What is computed of
//! those that are empty may be anything, −mean·rstd or σ(0) say, and must reach no statistic, no scale and no result.
//!
//! So every kernel runs a grid: kinds of values beside which such a contribution is large × which parameters are there,
//! for a weight alone may hide it × sizes of rows that leave places empty.

use crate::judge;
use crate::support::ops::{ACTIVATIONS, post_adds, ropes};
use crate::support::{Failures, emulated_devices, residuals};
use std::collections::{BTreeMap, BTreeSet};
use warpnorm::host::Placement;
use warpnorm::parity::{Case, Values};
use warpnorm::plan::{Form, GROUP_ELEMENTS, Module, Path, Sink, Source, Team, Threads};
use warpnorm::quantise::{CodeType, Quantisation, Scaling};
use warpnorm::reference::{decode, encode, smallest_normal};
use warpnorm::{Activation, DType, DeviceFacts, Family, Input, Interpolation, Norm, Rope, Scope, WeightRounding};

/// What rows are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// With means so far from 0, above it and below by turns.
    FarBy20,
    FarBy1000,
    /// Of one value, another in the next row.
    Constant,
    /// So small that nearly any other value is larger.
    Tiny,
    /// Smaller still, down to denormals.
    NearDenormals,
    /// Where a zero would be the largest.
    Negative,
    /// Beside rows of infinities and of NaNs, and near 0 beside far from it, in other teams of the same block.
    BesideOthers,
}

impl Kind {
    const ALL: [Kind; TURNS] = {
        use Kind::*;
        [FarBy20, FarBy1000, Constant, Tiny, NearDenormals, Negative, BesideOthers]
    };

    /// Makes rows of values of mean 0 and deviation 1 so.
    fn shape(self, dtype: DType, hidden: usize, rows: &mut Vec<u8>) {
        let value = |(index, unit): (usize, f64)| match (self, index / hidden % 4) {
            (Kind::FarBy20, row) => unit + [20.0, -20.0][row % 2],
            (Kind::FarBy1000, row) => unit + [1000.0, -1000.0][row % 2],
            (Kind::Constant, row) => [1.7, -20.25, 1000.0, -0.3][row],
            (Kind::Tiny, _) => 1e-4 * unit,
            (Kind::NearDenormals, _) => 2.0 * smallest_normal(dtype) * unit,
            (Kind::Negative, _) => -0.5 - unit.abs(),
            (Kind::BesideOthers, row) => [unit, f64::INFINITY, unit + 20.0, f64::NAN][row],
        };
        *rows = encode(dtype, decode(dtype, rows).into_iter().enumerate().map(value));
    }
}

/// What there is of the tensors beside rows, and how the norm takes it.
#[derive(Clone, Copy)]
struct Parameters {
    weight: bool,
    offset: f32,
    rounding: WeightRounding,
    /// How far the bias is from 0, if there is one.
    bias: Option<f64>,
    /// Whether they are f32 whatever the activations are.
    are_f32: bool,
    /// Whether an activation that could be of x itself has a tensor of its own.
    gate: bool,
}

impl Parameters {
    const NONE: Self =
        Self { weight: false, offset: 0.0, rounding: WeightRounding::Single, bias: None, are_f32: false, gate: true };
    const WEIGHT: Self = Self { weight: true, ..Self::NONE };
    const WITH_OFFSET: Self = Self { offset: 1.0, ..Self::WEIGHT };
    const BIAS: Self = Self { bias: Some(0.0), ..Self::WEIGHT };
    /// More than all else in most rows.
    const LARGE_BIAS: Self = Self { bias: Some(64.0), ..Self::NONE };

    /// Those that kernels of a path run with. Without any most shows: codes, of as many sorts, take it twice.
    fn of(module: Module, path: Path) -> Vec<Self> {
        let rounded = |parameters| Self { rounding: WeightRounding::BeforeWeight, ..parameters };
        let alone = |parameters| Self { gate: false, ..parameters };
        let is_gated = matches!(module.sink, Sink::GatedStore | Sink::GatedQuantise);
        let takes_bias = module.source != Source::PostAdd && !is_gated;
        let bias = Self::LARGE_BIAS.bias.filter(|_| takes_bias);
        let of_f32 = Self { are_f32: true, bias, ..rounded(Self::WITH_OFFSET) };
        let mut all = match path {
            Path::General | Path::Aligned if is_gated && module.statistic == Family::Identity => {
                vec![alone(Self::NONE), Self::NONE, alone(Self::WEIGHT), Self::WEIGHT]
            }
            Path::General if takes_bias => {
                vec![Self::NONE, Self::WEIGHT, Self::LARGE_BIAS, of_f32, Self::BIAS, Self::WITH_OFFSET]
            }
            Path::General => vec![Self::NONE, Self::WEIGHT, Self::WITH_OFFSET, of_f32],
            Path::Aligned | Path::Shifted if takes_bias && module.statistic != Family::RmsNorm => {
                vec![Self::NONE, Self::WEIGHT, Self::LARGE_BIAS, Self::BIAS]
            }
            Path::Aligned | Path::Shifted => vec![Self::NONE, Self::WEIGHT],
            Path::AlignedRounded => vec![rounded(Self::NONE), rounded(Self::WEIGHT)],
            Path::AlignedWithOffset => vec![Self::WITH_OFFSET],
        };
        if matches!(module.sink, Sink::Quantise | Sink::GatedQuantise) {
            all.insert(0, all[0]);
        }
        all
    }

    fn give(self, mut case: Case) -> Case {
        let dtype = if self.are_f32 { DType::F32 } else { case.dtype };
        if self.weight {
            let has_inner = matches!(case.norm.input, Input::PostNorm(_));
            case = if has_inner { case.with_inner_weight(dtype) } else { case }.with_weight(dtype);
        }
        if let Some(centre) = self.bias {
            case = case.with_bias(dtype);
            let (_, bias) = case.bias.as_mut().expect("a bias");
            *bias = encode(dtype, decode(dtype, bias).into_iter().map(|value| centre + value));
        }
        case.gate = case.gate.filter(|_| self.gate);
        case
    }
}

/// The numbers that an option has at most: a prime.
const TURNS: usize = 7;

/// The numbers of a case: of its kind, and of the choice of parameters and a size among all that are run.
///
/// All other options go by turns, as in a Reed–Solomon code: option k takes, modulo 7, the number kind + k·choice +
/// k²·⌊choice / 7⌋. So each choice meets every number of every option; 7 choices from a multiple of 7 on, which every
/// module has but for long rows, every pair of numbers of two options, or of one and the kind; and 49, every triple. For
/// two values tell a polynomial of degree 2 modulo a prime whose last coefficient is given, and three any.
#[derive(Clone, Copy)]
struct Turn {
    kind: usize,
    choice: usize,
}

impl Turn {
    fn take<T: Clone>(self, option: usize, of: &[T]) -> T {
        assert!((1..TURNS).contains(&option) && of.len() <= TURNS);
        let number = self.kind + option * self.choice + option * option * (self.choice / TURNS);
        of[number % TURNS % of.len()].clone()
    }
}

const FAMILY: usize = 1;
const SOURCE: usize = 2;
const SINK: usize = 3;
const PLACEMENT: usize = 4;
const ROWS: usize = 5;
const OPTIONAL: usize = 6;

/// Three have a scale of the row, on which all of its threads agree.
const QUANTISATIONS: [Quantisation; TURNS] = [
    Quantisation::per_token(CodeType::E4m3),
    Quantisation::per_tensor(CodeType::Int8),
    Quantisation::per_token(CodeType::Int8),
    Quantisation::per_group(CodeType::E4m3, 128),
    Quantisation { code: CodeType::E5m2, scaling: Scaling::PerToken { upper_bound: Some(30.0) } },
    Quantisation::mxfp8(),
    Quantisation::nvfp4(),
];

/// A norm that runs on a module, of rows of so many elements.
fn norm(module: Module, turn: Turn, hidden: usize) -> Norm {
    let norm = match module.statistic {
        Family::LayerNorm => Norm::layer_norm(1e-5),
        Family::Identity => Norm::affine(),
        _ => turn.take(FAMILY, &[Norm::rms_norm(1e-6), Norm::l2_norm(), Norm::rms_norm(0.0)]),
    };
    // σ alone makes something of 0.
    let activation = turn.take(SOURCE, &[&[Activation::Sigmoid; 2], &ACTIVATIONS[..5]].concat());
    let scope = turn.take(OPTIONAL, &[Scope::Group, Scope::Row]);
    let step = |rate_scale| Input::Interpolation(Interpolation { rate_scale });
    let norm = match (module.source, module.sink) {
        (Source::Plain | Source::Columns, _) => norm,
        (Source::ResidualAdd, _) => norm.with_input(Input::from(turn.take(SOURCE, &residuals()[1..]))),
        (Source::PostAdd, _) => norm.with_post_add(turn.take(SOURCE, &post_adds())),
        (Source::PostNorm, _) => norm.with_input(Input::PostNorm(turn.take(SOURCE, &post_adds()))),
        (Source::Interpolation, _) => norm.with_input(turn.take(SOURCE, &[1.0, -1.6].map(step))),
        (Source::Parts, Sink::Rotate) => norm.with_scope(turn.take(SOURCE, &[Scope::Head, Scope::Head, Scope::Group])),
        (Source::Parts, _) => norm.with_scope(scope),
        (Source::Gated, _) => norm.with_scope(scope).with_input(Input::Gated(activation)),
    };
    match module.sink {
        Sink::Quantise => norm.with_quantisation(turn.take(SINK, &QUANTISATIONS)),
        Sink::GatedStore => norm.with_gate(activation),
        Sink::GatedQuantise => norm.with_gate(activation).with_quantisation(turn.take(SINK, &QUANTISATIONS)),
        Sink::QuantiseWide => norm.with_quantisation(Quantisation::per_tensor_wide()),
        Sink::Rotate if norm.scope == Scope::Head && (2..=512).contains(&hidden) => {
            // Of each dimension, of either pairs and either rounding; and none.
            let fits = |rope: &Rope| (2..=hidden).contains(&rope.dim) && rope.dim.is_multiple_of(2);
            let ropes = ropes(hidden).into_iter().filter(fits).step_by(3).map(|rope| norm.with_rope(rope));
            turn.take(SINK, &ropes.chain([norm]).collect::<Vec<_>>())
        }
        Sink::Store | Sink::Rotate | Sink::Fold => norm,
    }
}

/// Sizes of rows that leave places of every sort empty in kernels of a form, and the devices that run them so.
fn sizes(module: Module, form: Form) -> Vec<(DeviceFacts, usize)> {
    let [t4, h200] = emulated_devices();
    // One that holds no threads at a time: any rows are many, and so they can be few.
    let crowded = DeviceFacts { multiprocessors: 0, ..h200.clone() };
    let on = |device: &DeviceFacts, sizes: &[usize]| sizes.iter().map(|&size| (device.clone(), size)).collect();
    let in_registers = GROUP_ELEMENTS * module.source.max_threads() as usize;
    match (form.path, form.threads) {
        // Warps have nothing of a last slab, walked by a thread block or another one of a cluster.
        (Path::General, _) if form.looped => [t4, h200, crowded].map(|device| (device, in_registers + 1)).to_vec(),
        _ if form.looped => vec![(h200, in_registers + 8), (crowded, in_registers + 264)],
        // One element, and all but one of a chunk; teams within a warp and beyond.
        (Path::General, _) => [on(&t4, &[24, 263, 520]), on(&h200, &[1, 77, 523])].concat(),
        (Path::Shifted, _) => on(&crowded, &[513, 1023, 1030]),
        // One chunk; lanes, and warps, without their last ones.
        (_, Threads::Single) => on(&h200, &[8, 24, 200, 264, 520]),
        (_, Threads::PairedLanes) => on(&crowded, &[40, 200, 264, 512]),
        (_, Threads::Paired) => on(&crowded, &[520, 1544, 4104]),
        (_, Threads::PairedLines) => on(&crowded, &[768, 1280]),
        // A last warp without a second.
        (_, Threads::PairedFull) => on(&crowded, &[1536, 2560]),
        // None but those of teams.
        (_, Threads::PairedEven) => on(&crowded, &[1024, 2048]),
    }
}

/// The case of a turn.
fn case(module: Module, form: Form, turn: Turn, hidden: usize, parameters: Parameters) -> Case {
    let norm = norm(module, turn, hidden).with_weight_rounding(parameters.rounding);
    let norm = norm.with_weight_offset(parameters.offset);
    // Scales are of whole groups.
    let group = norm.quantisation.and_then(|quantisation| quantisation.scaling.group());
    let hidden = hidden.next_multiple_of(group.unwrap_or(1));
    let kind = Kind::ALL[turn.kind];
    let parts = if norm.scope == Scope::Row { 1 } else { 2 };
    // One more than the teams of a block, so that the last block has nothing for most.
    let teams = 128 * form.threads.groups() / Team::of_row(module.source, module.dtype, hidden).threads;
    let many = teams.max(1) as usize / parts + 1;
    let rows = if form.looped { 1 + usize::from(kind == Kind::BesideOthers) } else { turn.take(ROWS, &[3, many]) };
    let case = Case::of_parts(norm, module.dtype, rows, parts, hidden, Values::Unit, turn.choice as u64);
    let mut case = parameters.give(case.expect("a possible size"));
    case.outputs.y = module.sink != Sink::QuantiseWide;
    if turn.take(OPTIONAL, &[true, false]) {
        case.outputs.y &= norm.quantisation.is_none();
        case = match norm.input {
            Input::ResidualAdd(_) => case.with_linear_bias(module.dtype),
            Input::Interpolation(_) => case.with_rate(module.dtype),
            _ if norm.scope == Scope::Head => case.with_second(1),
            _ => case,
        };
    }
    let second = case.second.as_mut().map(|heads| &mut heads.x);
    let linear_bias = case.linear_bias.as_mut().map(|(_, bias)| bias);
    let tensors = [Some(&mut case.x), case.residual.as_mut(), case.gate.as_mut(), second, linear_bias];
    tensors.into_iter().flatten().for_each(|tensor| kind.shape(module.dtype, hidden, tensor));
    case
}

/// Runs the grid of all modules of a statistic, of rows that stay in registers or of longer ones; types of 16 bits take
/// its cases by turns. Every kernel has to meet every kind, on older GPUs and newer. Returns how many forms they have.
fn hold(statistic: Family, looped: bool) -> usize {
    let (mut choice, mut met, mut failures) = (0, BTreeSet::new(), BTreeMap::<Kind, Failures>::new());
    let modules = || Module::all().filter(|module| module.statistic == statistic && module.source != Source::Columns);
    let kernels = || modules().flat_map(|module| module.kernels().expect("a module"));
    let of_regime = || kernels().filter(|kernel| kernel.form().looped == looped);
    for kernel in of_regime().filter(|kernel| kernel.module().dtype != DType::BF16) {
        let (module, form) = (kernel.module(), kernel.form());
        let (sizes, parameters) = (sizes(module, form), Parameters::of(module, form.path));
        // Long rows take the executor long: sizes and parameters go side by side.
        let count = if looped { 4.min(sizes.len() * parameters.len()) } else { sizes.len() * parameters.len() };
        let placements: &[_] = match form.path {
            Path::General | Path::Shifted => &[(3, 0, false), (0, 0, true), (0, 1, false), (0, 0, false)],
            _ => &[(8, 0, false), (0, 0, true), (0, 0, false)],
        };
        for pair in 0..count {
            let (device, hidden) = &sizes[pair % sizes.len()];
            let parameters = parameters[if looped { pair } else { pair / sizes.len() } % parameters.len()];
            for (number, kind) in Kind::ALL.into_iter().enumerate() {
                let turn = Turn { kind: number, choice };
                let is_other = module.dtype == DType::F16 && (number + choice) % 2 == 1;
                let dtype = if is_other { DType::BF16 } else { module.dtype };
                let case = case(Module { dtype, ..module }, form, turn, *hidden, parameters);
                let (padding, offset, in_place) = turn.take(PLACEMENT, placements);
                let mut placement = Placement { padding, offset, in_place, stagger: 0 };
                let plan = case.as_problem().plan(device).expect("a valid case").expect("rows");
                if form == Form::GENERAL && plan.kernel.form() != form {
                    // Rows of whole groups of codes run so if they begin elsewhere, of which this plan knows nothing.
                    placement.offset = 1;
                } else {
                    assert_eq!(plan.kernel.form(), form, "{hidden} {:?} on {}", case.norm, device.name);
                    met.insert((plan.kernel.name(), device.has_clusters(), kind));
                }
                judge(failures.entry(kind).or_default(), device, &case, placement);
            }
            choice += 1;
        }
    }
    for kernel in of_regime() {
        let has_met = |on_newer| Kind::ALL.iter().all(|&kind| met.contains(&(kernel.name(), on_newer, kind)));
        assert!(has_met(true) && (kernel.form().path != Path::General || has_met(false)), "{}", kernel.name());
    }
    for (kind, failures) in failures {
        println!("{kind:?}");
        failures.assert_none();
    }
    of_regime().map(|kernel| kernel.form()).collect::<BTreeSet<_>>().len()
}

#[test]
fn layer_norms_and_activations() {
    // Aligned rows by all six forms of threads, any rows, and shifted ones.
    assert_eq!([Family::LayerNorm, Family::Identity].map(|statistic| hold(statistic, false)), [8, 2]);
}

#[test]
fn rms_norms() {
    // The same, and by five more where v is rounded before weights, and where these are offset.
    assert_eq!(hold(Family::RmsNorm, false), 18);
}

#[test]
fn long_rows() {
    let forms = [Family::LayerNorm, Family::RmsNorm, Family::Identity].map(|statistic| hold(statistic, true));
    assert_eq!(forms, [2, 2, 1]);
}

/// No chunk at all of the last slab, which rows of nine slabs and more leave to some threads.
#[test]
fn threads_without_a_part_of_a_slab() {
    let mut failures = Failures::default();
    let layer_norm = Norm::layer_norm(1e-5);
    let per_token = layer_norm.with_quantisation(Quantisation::per_token(CodeType::E4m3));
    let post_add = layer_norm.with_post_add(post_adds()[0]);
    for (norm, hidden) in [(layer_norm, 269_840), (per_token, 269_840), (post_add, 69_128)] {
        for (dtype, kind) in [(DType::F16, Kind::FarBy20), (DType::BF16, Kind::Constant)] {
            let team = Team::of_row(Module::of(&norm, dtype).source, dtype, hidden);
            let last = team.place(hidden - 1);
            assert!(last.element < 8 && last.rank + 1 < team.threads as usize, "{last:?} of {team:?}");
            let mut case = Case::new(norm, dtype, 1, hidden, Values::Unit, 1).expect("a possible size");
            kind.shape(dtype, hidden, &mut case.x);
            judge(&mut failures, &DeviceFacts::h200(), &case, Placement::default());
        }
    }
    failures.assert_none();
}
