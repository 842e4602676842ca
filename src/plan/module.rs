//! Modules: the instances of the row kernel, and their exported kernels.

use super::constants::{COLUMN_THREADS, FEWER_THREADS, MOST_THREADS};
use super::form::{Form, Path};
use crate::ptx::INSTANCES;
use crate::{DType, Family, Input, Norm, PlanError, Scope};
use std::fmt;

/// Where the values of a row come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// h = x.
    Plain,
    /// h = α·r + x.
    ResidualAdd,
    /// h = x, and a residual is added after the norm.
    PostAdd,
    /// h = R((r + norm(x)·w₁)·scale).
    PostNorm,
    /// h = A + lr·(B − A), where A is norm(r) and B norm(x).
    Interpolation,
    /// h = x, of the heads or groups of a row.
    Parts,
    /// h = x·act(z), of a row or its groups.
    Gated,
    /// The columns of x. A kernel of its own, with [`Sink::Fold`]; no norm's.
    Columns,
}

impl Source {
    /// Every source.
    pub const ALL: [Source; 8] = [
        Source::Plain,
        Source::ResidualAdd,
        Source::PostAdd,
        Source::PostNorm,
        Source::Interpolation,
        Source::Parts,
        Source::Gated,
        Source::Columns,
    ];

    /// The threads of the largest team. Rows that need more are walked in slabs; with less, a thread has the
    /// registers that a second norm, a rotation or more inputs take.
    pub const fn max_threads(self) -> u32 {
        match self {
            Source::Plain | Source::ResidualAdd => MOST_THREADS,
            Source::PostAdd | Source::PostNorm | Source::Interpolation | Source::Parts | Source::Gated => FEWER_THREADS,
            Source::Columns => COLUMN_THREADS,
        }
    }
}

/// What becomes of a row once its statistic is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sink {
    /// y = R(v·weight + bias), stored in the activation type.
    Store,
    /// y as codes and scales, and as it is where that is asked for.
    Quantise,
    /// y = R(v·weight·act(z)), stored in the activation type.
    GatedStore,
    /// The same as codes and scales.
    GatedQuantise,
    /// y as codes, before it is rounded to the activation type.
    QuantiseWide,
    /// y, rotated where heads are given their positions, stored in the activation type.
    Rotate,
    /// No y: the statistic itself, and the scale and shift that it folds to.
    Fold,
}

impl Sink {
    /// Every sink.
    pub const ALL: [Sink; 7] = [
        Sink::Store,
        Sink::Quantise,
        Sink::GatedStore,
        Sink::GatedQuantise,
        Sink::QuantiseWide,
        Sink::Rotate,
        Sink::Fold,
    ];
}

/// One instance of the row kernel, or of the kernel of columns: what is loaded, and compiled by the driver, as one.
///
/// `kernels/modules.txt` lists those that a build has, [`Module::all`] returns them. Any other
/// combination is a value too, and refused as [`PlanError::NoModule`] where it is to be run.
///
/// ```
/// use warpnorm::plan::Module;
/// use warpnorm::{DType, Norm};
///
/// let module = Module::of(&Norm::rms_norm(1e-6), DType::BF16);
/// assert_eq!(module.to_string(), "rms_norm bf16");
/// assert!(Module::all().any(|one| one == module));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Module {
    /// The statistic.
    pub statistic: Family,
    /// Where rows come from.
    pub source: Source,
    /// Where they go.
    pub sink: Sink,
    /// The activation type.
    pub dtype: DType,
}

impl Module {
    /// The module that a norm of activations of this type runs on.
    pub const fn of(norm: &Norm, dtype: DType) -> Self {
        let whole = matches!(norm.scope, Scope::Row);
        let source = match norm.input {
            // To a gated norm a whole row is a group.
            Input::Plain if !whole || norm.gate.is_some() && !matches!(norm.family, Family::Identity) => Source::Parts,
            Input::Plain if norm.post_add.is_some() => Source::PostAdd,
            Input::Plain => Source::Plain,
            Input::ResidualAdd(_) => Source::ResidualAdd,
            Input::Gated(_) => Source::Gated,
            Input::PostNorm(_) => Source::PostNorm,
            Input::Interpolation(_) => Source::Interpolation,
        };
        let sink = match (norm.gate.is_some(), norm.quantisation.is_some()) {
            (false, false) if matches!(source, Source::Parts) => Sink::Rotate,
            (false, false) => Sink::Store,
            (false, true) if norm.quantises_wide() => Sink::QuantiseWide,
            (false, true) => Sink::Quantise,
            (true, false) => Sink::GatedStore,
            (true, true) => Sink::GatedQuantise,
        };
        // The L2 norm is the RMS norm with another divisor.
        let statistic = match norm.family {
            Family::LayerNorm => Family::LayerNorm,
            Family::Identity => Family::Identity,
            Family::RmsNorm | Family::L2Norm => Family::RmsNorm,
        };
        Self { statistic, source, sink, dtype }
    }

    /// The module that takes the [statistics](crate::BatchStatistics) of columns of this type.
    pub const fn of_columns(dtype: DType) -> Self {
        Self { statistic: Family::LayerNorm, source: Source::Columns, sink: Sink::Fold, dtype }
    }

    /// Every module of this build.
    pub fn all() -> impl ExactSizeIterator<Item = Module> + Clone {
        INSTANCES.iter().map(|instance| instance.module)
    }

    /// The name without the type, such as `add_rms_norm`.
    ///
    /// # Errors
    /// [`PlanError::NoModule`] where this build has no such module.
    pub fn name(self) -> Result<&'static str, PlanError> {
        Ok(INSTANCES[self.index()?].name)
    }

    /// The module's kernels: [`Form::GENERAL`] and [`Form::LOOPED`]; then those of other [paths](Path), which it has from
    /// compute capability 9.0 on. Of columns, the one.
    ///
    /// # Errors
    /// [`PlanError::NoModule`] where this build has no such module.
    pub fn kernels(self) -> Result<impl ExactSizeIterator<Item = Kernel> + Clone, PlanError> {
        let instance = &INSTANCES[self.index()?];
        Ok((0..instance.kernels.len()).map(move |index| instance.kernel(index)))
    }

    /// The modules of the same statistic and type, for messages.
    pub(crate) fn beside(self) -> String {
        let same = |one: &Module| (one.statistic, one.dtype) == (self.statistic, self.dtype);
        let names: Vec<_> = Module::all().filter(same).map(|one| format!("{:?} {:?}", one.source, one.sink)).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }

    /// The kernel for all calls, of long rows or of others, or of columns.
    pub(super) fn general(self, looped: bool) -> Result<Kernel, PlanError> {
        let form = if looped { Form::LOOPED } else { Form::GENERAL };
        self.kernels()?.find(|kernel| kernel.form == form).ok_or(PlanError::NoModule { module: self })
    }

    /// The place in [`INSTANCES`].
    pub(crate) fn index(self) -> Result<usize, PlanError> {
        find(INSTANCES, &INDICES, self).ok_or(PlanError::NoModule { module: self })
    }

    /// Its number among all [`COMBINATIONS`].
    const fn combination(self) -> usize {
        let statistic_and_source = self.statistic.index() * Source::ALL.len() + self.source as usize;
        let with_sink = statistic_and_source * Sink::ALL.len() + self.sink as usize;
        with_sink * DType::ALL.len() + self.dtype.index()
    }
}

/// The name and the type, such as `add_rms_norm bf16`; the parts, where this build has no such module.
impl fmt::Display for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Ok(name) => write!(f, "{name} {}", self.dtype),
            Err(_) => Parts(*self).fmt(f),
        }
    }
}

/// A module as its line in `kernels/modules.txt` would say it.
struct Parts(Module);

impl fmt::Display for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Module { statistic, source, sink, dtype } = self.0;
        write!(f, "{statistic:?} {source:?} {sink:?} {dtype}")
    }
}

/// The first target, compute capability × 10, whose modules have kernels for other paths than the general one: where
/// memory is fast, fewer instructions are less time.
pub(crate) const FIRST_WITH_PATHS: u32 = 90;

// Plans take other paths where the code that runs knows of clusters.
const _: () = assert!(FIRST_WITH_PATHS == super::FIRST_WITH_CLUSTERS);

/// A kernel of this build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kernel {
    module: Module,
    /// The place in [`Instance::kernels`].
    index: usize,
    form: Form,
    name: &'static str,
}

impl Kernel {
    /// The module that it is in.
    pub const fn module(self) -> Module {
        self.module
    }

    /// What it is made for.
    pub const fn form(self) -> Form {
        self.form
    }

    /// Whether teams of more than a warp may share a thread block: paired ones, but for rows that begin anywhere, whose
    /// warps meet once more.
    pub(super) const fn shares_blocks(self) -> bool {
        let Form { path, threads, .. } = self.form;
        threads.groups() > 1 && !matches!(path, Path::Shifted)
    }

    /// Whether it is in code for a target, compute capability × 10.
    #[cfg(any(feature = "cuda", feature = "emulator"))]
    pub(crate) fn is_on(self, target: u32) -> bool {
        target >= FIRST_WITH_PATHS || self.form.path == Path::General
    }

    /// Its place among the [kernels](Module::kernels) of its module.
    #[cfg(feature = "cuda")]
    pub(crate) const fn index(self) -> usize {
        self.index
    }

    /// The exported name, such as `add_rms_norm_bf16_registers`.
    pub const fn name(self) -> &'static str {
        self.name
    }
}

/// A line of `kernels/modules.txt` for one of its types.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) module: Module,
    pub(crate) name: &'static str,
    /// The exported names: of the registers regime and looped, or of the kernel of columns; then of other paths.
    pub(crate) kernels: &'static [&'static str],
    /// The forms of these.
    pub(crate) forms: &'static [Form],
}

impl Instance {
    fn kernel(&self, index: usize) -> Kernel {
        Kernel { module: self.module, index, form: self.forms[index], name: self.kernels[index] }
    }

    /// The names that code for a target, compute capability × 10, exports.
    pub(crate) fn kernels_on(&self, target: u32) -> &'static [&'static str] {
        let general = self.forms.iter().take_while(|form| form.path == Path::General).count();
        if target >= FIRST_WITH_PATHS { self.kernels } else { &self.kernels[..general] }
    }
}

const COMBINATIONS: usize = Family::ALL.len() * Source::ALL.len() * Sink::ALL.len() * DType::ALL.len();

/// The place in [`INSTANCES`] by [`Module::combination`]; past its end where there is none. A plan looks
/// its kernel up here, so that a launch costs the same however many modules there are.
static INDICES: [u16; COMBINATIONS] = indices(INSTANCES);

const fn indices(instances: &[Instance]) -> [u16; COMBINATIONS] {
    let mut indices = [u16::MAX; COMBINATIONS];
    let mut at = 0;
    while at < instances.len() {
        let combination = instances[at].module.combination();
        assert!(indices[combination] == u16::MAX, "a variant is missing from its enum's ALL");
        indices[combination] = at as u16;
        at += 1;
    }
    indices
}

fn find(instances: &[Instance], indices: &[u16; COMBINATIONS], module: Module) -> Option<usize> {
    let index = usize::from(*indices.get(module.combination())?);
    // Compared once more: a variant that is missing from its enum's ALL would pass for another.
    instances.get(index).is_some_and(|instance| instance.module == module).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_in_the_table_is_not_found() {
        let norm = Norm::layer_norm(1e-5);
        let there = [Module::of(&norm, DType::F16), Module::of(&Norm::rms_norm(1e-6), DType::F32)];
        let instances = there.map(|module| Instance { module, name: "", kernels: &[], forms: &[] });
        let indices = indices(&instances);
        for module in Module::all() {
            let wanted = there.iter().position(|&one| one == module);
            assert_eq!(find(&instances, &indices, module), wanted, "{module:?}");
        }
        assert_eq!(find(&[], &[u16::MAX; COMBINATIONS], there[0]), None);
    }

    #[test]
    fn a_module_that_is_missing_is_named_by_its_parts() {
        let parts = Parts(Module { dtype: DType::BF16, ..Module::of(&Norm::layer_norm(1e-5), DType::F32) });
        assert_eq!(parts.to_string(), "LayerNorm Plain Store bf16");
    }
}
