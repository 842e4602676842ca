//! Quantised outputs: from options to the library's description, and back to words.

use crate::cli::{self, QuantiseOptions};
use crate::error::ToolError;
use warpnorm::quantise::{BlockRounding, CodeType, Quantisation, ScaleLayout, Scaling};
use warpnorm::{CallError, DType};

/// What the options ask for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantised {
    /// The codes and their scales.
    pub quantisation: Quantisation,
    /// The scale that is given, if one is.
    pub tensor_scale: Option<f32>,
    /// Whether y is stored beside its codes.
    pub with_y: bool,
}

impl QuantiseOptions {
    /// What the options ask for, if they ask for codes.
    ///
    /// # Errors
    /// An option does not go with the scaling, or the library refuses the description.
    pub fn quantised(&self) -> Result<Option<Quantised>, ToolError> {
        use cli::Scaling as Given;
        let Some(scaling) = self.quantise else { return Ok(None) };
        let layout = self.layout()?;
        let belongings: [(&str, bool, &[Given]); 7] = [
            ("--group", self.group.is_some(), &[Given::PerGroup]),
            ("--power-of-two", self.power_of_two, &[Given::PerGroup]),
            ("--upper-bound", self.upper_bound.is_some(), &[Given::PerToken]),
            ("--block-rounding", self.block_rounding.is_some(), &[Given::Mxfp8]),
            ("--scale-layout", self.scale_layout.is_some(), &[Given::PerGroup, Given::Mxfp8, Given::Nvfp4]),
            ("--tensor-scale", self.tensor_scale.is_some(), &[Given::PerTensor, Given::PerTensorWide, Given::Nvfp4]),
            (
                "--with-y",
                self.with_y,
                &[Given::PerTensor, Given::PerToken, Given::PerGroup, Given::Mxfp8, Given::Nvfp4],
            ),
        ];
        for (option, given, goes_with) in belongings {
            if given && !goes_with.contains(&scaling) {
                let names: Vec<&str> = goes_with.iter().map(|&scaling| name(scaling)).collect();
                let wanted = names.join(" or ");
                return Err(ToolError::Usage(format!("{option} goes with --quantise {wanted}; see --help")));
            }
        }
        let usual = if scaling == Given::Nvfp4 { CodeType::E2m1 } else { CodeType::E4m3 };
        let scaling = match scaling {
            Given::PerTensor => Scaling::PerTensor,
            Given::PerTensorWide => Scaling::PerTensorWide,
            Given::PerToken => Scaling::PerToken { upper_bound: self.upper_bound },
            Given::PerGroup => Scaling::PerGroup {
                size: match self.group {
                    Some(cli::Group::Of64) => 64,
                    Some(cli::Group::Of128) | None => 128,
                },
                layout,
                power_of_two: self.power_of_two,
                floor: FLOOR,
            },
            Given::Mxfp8 => Scaling::Mxfp8 {
                rounding: match self.block_rounding {
                    Some(cli::BlockRounding::Floor) => BlockRounding::Floor,
                    Some(cli::BlockRounding::Up) | None => BlockRounding::Up,
                },
                layout,
            },
            Given::Nvfp4 => Scaling::Nvfp4 { layout },
        };
        let quantisation = Quantisation { code: self.code.map_or(usual, Into::into), scaling };
        // No elements can be divided into groups of any size: this is about the description alone.
        quantisation.validate(0).map_err(CallError::from)?;
        Ok(Some(Quantised { quantisation, tensor_scale: self.tensor_scale, with_y: self.with_y }))
    }

    /// As [`quantised`](Self::quantised), for data that bring no scale of their own.
    ///
    /// # Errors
    /// The scaling takes a scale that is not given, beside those.
    pub fn quantised_file(&self) -> Result<Option<Quantised>, ToolError> {
        let quantised = self.quantised()?;
        if let Some(Quantised { quantisation, tensor_scale: None, .. }) = quantised
            && quantisation.scaling.takes_tensor_scale()
        {
            let scaling = quantisation.scaling.name();
            return Err(ToolError::Usage(format!("--quantise {scaling} needs --tensor-scale; see --help")));
        }
        Ok(quantised)
    }

    /// What the options ask of generated data of these types; none given are those that can be quantised.
    ///
    /// # Errors
    /// One of the types is not quantised, beside those of [`quantised`](Self::quantised).
    pub fn quantised_grid(&self, dtypes: &[DType]) -> Result<Option<Quantised>, ToolError> {
        let quantised = self.quantised()?;
        if quantised.is_some() && dtypes.contains(&DType::F32) {
            return Err(CallError::QuantisedType { given: DType::F32 }.into());
        }
        Ok(quantised)
    }

    fn layout(&self) -> Result<ScaleLayout, ToolError> {
        match (self.scale_layout, self.scale_alignment) {
            (Some(cli::ScaleLayout::ColumnMajor), alignment) => {
                Ok(ScaleLayout::ColumnMajor { alignment: alignment.unwrap_or(1) })
            }
            (_, Some(_)) => {
                Err(ToolError::Usage("--scale-alignment goes with --scale-layout column-major; see --help".to_owned()))
            }
            (Some(cli::ScaleLayout::RowMajor) | None, None) => Ok(ScaleLayout::RowMajor),
            (Some(cli::ScaleLayout::Tiled), None) => Ok(ScaleLayout::Tiled),
        }
    }
}

/// The floor of the amax of groups: that of vLLM and SGLang.
const FLOOR: f32 = 1e-10;

fn name(scaling: cli::Scaling) -> &'static str {
    match scaling {
        cli::Scaling::PerTensor => "per-tensor",
        cli::Scaling::PerTensorWide => "per-tensor-wide",
        cli::Scaling::PerToken => "per-token",
        cli::Scaling::PerGroup => "per-group",
        cli::Scaling::Mxfp8 => "mxfp8",
        cli::Scaling::Nvfp4 => "nvfp4",
    }
}

impl From<cli::Code> for CodeType {
    fn from(code: cli::Code) -> Self {
        match code {
            cli::Code::E4m3 => CodeType::E4m3,
            cli::Code::E5m2 => CodeType::E5m2,
            cli::Code::Int8 => CodeType::Int8,
        }
    }
}

/// The option's name of the rounding.
pub fn block_rounding_name(rounding: BlockRounding) -> &'static str {
    match rounding {
        BlockRounding::Up => "up",
        BlockRounding::Floor => "floor",
    }
}

/// The option's name of the layout.
pub fn layout_name(layout: ScaleLayout) -> &'static str {
    match layout {
        ScaleLayout::RowMajor => "row-major",
        ScaleLayout::ColumnMajor { .. } => "column-major",
        ScaleLayout::Tiled => "tiled",
    }
}

/// A quantisation in a few words, such as `e4m3 per-group 128`; what is not the usual follows.
pub fn words(quantisation: Quantisation) -> String {
    let Quantisation { code, scaling } = quantisation;
    let options = match scaling {
        Scaling::PerTensor
        | Scaling::PerTensorWide
        | Scaling::PerToken { upper_bound: None }
        | Scaling::Nvfp4 { .. } => String::new(),
        Scaling::PerToken { upper_bound: Some(bound) } => format!(", upper bound {bound}"),
        Scaling::PerGroup { size, power_of_two, .. } => {
            format!(" {size}{}", if power_of_two { ", power of two" } else { "" })
        }
        Scaling::Mxfp8 { rounding, .. } => format!(", rounded {}", block_rounding_name(rounding)),
    };
    let layout = match scaling.layout() {
        ScaleLayout::RowMajor => String::new(),
        other => format!(", scales {other}"),
    };
    format!("{code} {}{options}{layout}", scaling.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(scaling: cli::Scaling) -> QuantiseOptions {
        QuantiseOptions { quantise: Some(scaling), ..QuantiseOptions::default() }
    }

    #[test]
    fn what_is_usual_is_the_librarys() {
        use cli::Scaling::{Mxfp8, Nvfp4, PerGroup, PerTensor, PerTensorWide, PerToken};
        let all = [
            (PerTensor, Quantisation::per_tensor(CodeType::E4m3), "e4m3 per-tensor"),
            (PerTensorWide, Quantisation::per_tensor_wide(), "e4m3 per-tensor-wide"),
            (PerToken, Quantisation::per_token(CodeType::E4m3), "e4m3 per-token"),
            (PerGroup, Quantisation::per_group(CodeType::E4m3, 128), "e4m3 per-group 128"),
            (Mxfp8, Quantisation::mxfp8(), "e4m3 mxfp8, rounded up"),
            (Nvfp4, Quantisation::nvfp4(), "e2m1 nvfp4"),
        ];
        for (scaling, wanted, text) in all {
            let got = options(scaling).quantised().unwrap().unwrap();
            assert_eq!((got.quantisation, got.tensor_scale, got.with_y), (wanted, None, false));
            assert_eq!(words(got.quantisation), text);
            assert_eq!(name(scaling), wanted.scaling.name());
        }
        assert_eq!(QuantiseOptions::default().quantised().unwrap(), None);
    }

    #[test]
    fn every_option_arrives() {
        let given = QuantiseOptions {
            code: Some(cli::Code::Int8),
            group: Some(cli::Group::Of64),
            scale_layout: Some(cli::ScaleLayout::ColumnMajor),
            scale_alignment: Some(4),
            power_of_two: true,
            with_y: true,
            ..options(cli::Scaling::PerGroup)
        };
        let got = given.quantised().unwrap().unwrap();
        let layout = ScaleLayout::ColumnMajor { alignment: 4 };
        let scaling = Scaling::PerGroup { size: 64, layout, power_of_two: true, floor: 1e-10 };
        assert_eq!(got.quantisation, Quantisation { code: CodeType::Int8, scaling });
        assert!(got.with_y);
        let text = words(got.quantisation);
        assert_eq!(text, "int8 per-group 64, power of two, scales column-major, aligned to 4");
        let bounded = QuantiseOptions { upper_bound: Some(1.5), ..options(cli::Scaling::PerToken) };
        let wanted = Scaling::PerToken { upper_bound: Some(1.5) };
        assert_eq!(bounded.quantised().unwrap().unwrap().quantisation.scaling, wanted);
        let rounding = Some(cli::BlockRounding::Floor);
        let floored = QuantiseOptions { block_rounding: rounding, ..options(cli::Scaling::Mxfp8) };
        let wanted = Scaling::Mxfp8 { rounding: BlockRounding::Floor, layout: ScaleLayout::RowMajor };
        assert_eq!(floored.quantised().unwrap().unwrap().quantisation.scaling, wanted);
    }
}
