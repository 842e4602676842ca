//! From the options of a norm and the tensors that are there to its description.

use crate::cli::{self, NormOptions, PartOptions};
use crate::error::ToolError;
use crate::ops::{self, BATCH_NORM, Subject, is_plain, may_add};
use crate::tensors::Present;
use warpnorm::quantise::Quantisation;
use warpnorm::{
    CallError, Family, Input, Norm, PostAdd, PostRounding, ResidualAdd, ResidualRounding, Rope, RopePairs,
    RopeRounding, Scope, WeightRounding,
};

impl NormOptions {
    /// The names of the options given.
    pub fn given(&self) -> impl Iterator<Item = &'static str> {
        let given = [
            (self.eps.is_some(), "--eps"),
            (self.weight_offset.is_some(), "--weight-offset"),
            (self.weight_rounding.is_some(), "--weight-rounding"),
            (self.residual_scale.is_some(), "--residual-scale"),
            (self.residual_rounding.is_some(), "--residual-rounding"),
            (self.post_scale.is_some(), "--post-scale"),
            (self.post_rounding.is_some(), "--post-rounding"),
            (self.activation.is_some(), "--activation"),
            (self.gate_activation.is_some(), "--gate-activation"),
            (self.rate_scale.is_some(), "--rate-scale"),
            (self.rope_dim.is_some(), "--rope-dim"),
            (self.rope_pairs.is_some(), "--rope-pairs"),
            (self.rope_rounding.is_some(), "--rope-rounding"),
        ];
        given.into_iter().filter_map(|(given, name)| given.then_some(name))
    }

    /// The norm that these options make of the tensors that are there.
    ///
    /// # Errors
    /// An option or a tensor would do nothing, one that is needed is missing, or a value is never valid.
    pub fn norm(
        &self,
        subject: &Subject,
        parts: PartOptions,
        quantisation: Option<Quantisation>,
        present: &Present,
    ) -> Result<Norm, ToolError> {
        let mut norm = parts.divide(subject.norm())?;
        if norm.scope != Scope::Row && parts.count().is_none() {
            let option = if norm.scope == Scope::Head { "--heads" } else { "--groups" };
            return Err(ToolError::Usage(format!("{} needs {option}; see --help", subject.option())));
        }
        self.set_activation(&mut norm)?;
        match subject {
            // Presets with a residual add are without it where there is no residual.
            Subject::Preset(_) if norm.residual_add().is_some() && !present.has("residual") => {
                norm.input = Input::Plain
            }
            Subject::Op(_) if may_add(&norm) && present.has("residual") => {
                norm.input = Input::ResidualAdd(ResidualAdd::default());
            }
            _ => {}
        }
        self.set_values(&mut norm, present)?;
        self.set_residual_add(&mut norm, present)?;
        self.set_rope(&mut norm, present)?;
        norm.quantisation = quantisation;
        norm.validate().map_err(CallError::from)?;
        present.check(subject, &norm)?;
        Ok(norm)
    }

    fn set_activation(&self, norm: &mut Norm) -> Result<(), ToolError> {
        if let Some(activation) = self.activation {
            let applies = |norm: &Norm| norm.family == Family::Identity && norm.gate.is_some();
            goes_with("--activation", applies, norm)?;
            norm.gate = Some(activation);
        }
        if let Some(activation) = self.gate_activation {
            let applies = |norm: &Norm| norm.family != Family::Identity && (norm.takes_gate() || is_plain(norm));
            goes_with("--gate-activation", applies, norm)?;
            match &mut norm.input {
                Input::Gated(gate) => *gate = activation,
                _ => norm.gate = Some(activation),
            }
        }
        Ok(())
    }

    fn set_values(&self, norm: &mut Norm, present: &Present) -> Result<(), ToolError> {
        if let Some(eps) = self.eps {
            goes_with("--eps", |norm| norm.family != Family::Identity, norm)?;
            norm.eps = eps;
        }
        if let Some(offset) = self.weight_offset {
            // Values that do nothing are not refused, nor are roundings: they say how to compute, not what.
            needs("--weight-offset", offset != 0.0, "weight", present)?;
            norm.weight_offset = offset;
        }
        norm.weight_rounding = self.weight_rounding.map_or(norm.weight_rounding, Into::into);
        let of_post_add = |norm: &mut Norm, option, set: &dyn Fn(&mut PostAdd)| {
            goes_with(option, |norm| post_add(norm).is_some(), norm)?;
            match (&mut norm.input, &mut norm.post_add) {
                (Input::PostNorm(add), _) | (_, Some(add)) => set(add),
                _ => {}
            }
            Ok::<(), ToolError>(())
        };
        if let Some(scale) = self.post_scale {
            of_post_add(norm, "--post-scale", &|add| add.scale = scale)?;
        }
        if let Some(rounding) = self.post_rounding {
            of_post_add(norm, "--post-rounding", &|add| add.rounding = rounding.into())?;
        }
        if let Some(scale) = self.rate_scale {
            goes_with("--rate-scale", |norm| matches!(norm.input, Input::Interpolation(_)), norm)?;
            if let Input::Interpolation(step) = &mut norm.input {
                step.rate_scale = scale;
            }
        }
        Ok(())
    }

    fn set_residual_add(&self, norm: &mut Norm, present: &Present) -> Result<(), ToolError> {
        let applies = |norm: &Norm| norm.residual_add().is_some();
        if let Some(scale) = self.residual_scale.filter(|&scale| scale != 1.0 || applies(norm)) {
            needs("--residual-scale", may_add(norm), "residual", present)?;
            goes_with("--residual-scale", applies, norm)?;
            if let Input::ResidualAdd(add) = &mut norm.input {
                add.scale = scale;
            }
        }
        if let (Some(rounding), Input::ResidualAdd(add)) = (self.residual_rounding, &mut norm.input) {
            add.rounding = rounding.into();
        }
        Ok(())
    }

    /// Heads are rotated where there are tables.
    fn set_rope(&self, norm: &mut Norm, present: &Present) -> Result<(), ToolError> {
        let Self { rope_dim, rope_pairs, rope_rounding, .. } = *self;
        for (option, given) in [
            ("--rope-dim", rope_dim.is_some()),
            ("--rope-pairs", rope_pairs.is_some()),
            ("--rope-rounding", rope_rounding.is_some()),
        ] {
            if given {
                goes_with(option, |norm| norm.scope == Scope::Head, norm)?;
                needs(option, true, "cos", present)?;
            }
        }
        if norm.scope != Scope::Head || !present.has("cos") {
            return Ok(());
        }
        let whole = Rope::half_split(present.table_row.unwrap_or(0).saturating_mul(2));
        let base = norm.rope.unwrap_or(whole);
        norm.rope = Some(Rope {
            dim: rope_dim.unwrap_or(base.dim),
            pairs: rope_pairs.map_or(base.pairs, Into::into),
            rounding: rope_rounding.map_or(base.rounding, Into::into),
        });
        Ok(())
    }
}

impl PartOptions {
    /// Parts of a row, where they are given.
    pub fn count(self) -> Option<usize> {
        self.heads.or(self.groups)
    }

    /// The norm of heads or groups, where those are given.
    ///
    /// # Errors
    /// The norm has none.
    pub fn divide(self, mut norm: Norm) -> Result<Norm, ToolError> {
        let divided = |norm: &Norm, scope| norm.scope == scope || norm.scope == Scope::Row;
        if self.heads.is_some() {
            goes_with("--heads", |norm| divided(norm, Scope::Head) && is_plain(norm), &norm)?;
            norm.scope = Scope::Head;
        }
        if self.groups.is_some() {
            let inputs = |norm: &Norm| matches!(norm.input, Input::Plain | Input::Gated(_));
            let applies = |norm: &Norm| {
                let normalises = norm.family != Family::Identity;
                divided(norm, Scope::Group) && inputs(norm) && norm.post_add.is_none() && normalises
            };
            goes_with("--groups", applies, &norm)?;
            norm.scope = Scope::Group;
        }
        Ok(norm)
    }
}

/// The residual add after a norm, or after the first of two.
pub fn post_add(norm: &Norm) -> Option<PostAdd> {
    match norm.input {
        Input::PostNorm(add) => Some(add),
        _ => norm.post_add,
    }
}

/// Refuses an option that would change nothing.
fn goes_with(option: &str, applies: impl Fn(&Norm) -> bool, norm: &Norm) -> Result<(), ToolError> {
    if applies(norm) {
        return Ok(());
    }
    // Batch normalisation is not in the table, and eps is all that it takes.
    let also = if option == "--eps" { format!(", {BATCH_NORM}") } else { String::new() };
    Err(ToolError::Usage(format!("{option} goes with --op {}{also}; see --help", ops::names(applies))))
}

/// Refuses an option that would change what a missing tensor does to the result.
fn needs(option: &str, given: bool, name: &str, present: &Present) -> Result<(), ToolError> {
    if given && !present.has(name) {
        return Err(ToolError::OptionWithoutTensor { option: option.to_owned(), tensor: present.tensor_name(name) });
    }
    Ok(())
}

/// The library's enums of the same names.
macro_rules! same {
    ($($name:ident: $($variant:ident)+;)+) => {$(
        impl From<cli::$name> for $name {
            fn from(given: cli::$name) -> Self {
                match given { $(cli::$name::$variant => $name::$variant,)+ }
            }
        }
    )+};
}

same! {
    WeightRounding: Single BeforeWeight;
    ResidualRounding: Stored Wide Split;
    PostRounding: Single Each;
    RopePairs: HalfSplit Interleaved;
    RopeRounding: Single Each;
}
