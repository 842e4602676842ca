//! Activations on the command line: a name, and the parameter after a colon where there is one.

use warpnorm::Activation;

/// Slope of leaky ReLU where none is given: PyTorch's.
const SLOPE: f32 = 0.01;

/// Names, what they stand for with a parameter, and the parameter where none is given; `None` where there is none.
type Named = (&'static str, fn(f32) -> Activation, Option<f32>);

const NAMES: [Named; 8] = [
    ("identity", |_| Activation::Identity, None),
    ("relu", |_| Activation::Relu, None),
    ("leaky-relu", |slope| Activation::LeakyRelu { slope }, Some(SLOPE)),
    ("sigmoid", |_| Activation::Sigmoid, None),
    ("silu", |_| Activation::SILU, None),
    ("swish", |beta| Activation::Swish { beta }, Some(1.0)),
    ("gelu", |_| Activation::GeluExact, None),
    ("gelu-tanh", |_| Activation::GeluTanh, None),
];

/// The activation of a text such as `gelu` or `leaky-relu:0.2`.
///
/// # Errors
/// There is no such activation, or its parameter is not what it takes; in words for clap.
pub fn parse(text: &str) -> Result<Activation, String> {
    let (name, parameter) = match text.split_once(':') {
        Some((name, parameter)) => (name, Some(parameter)),
        None => (text, None),
    };
    let Some(&(_, make, default)) = NAMES.iter().find(|(one, ..)| *one == name) else {
        return Err(format!("wanted one of {}", NAMES.map(|(name, ..)| name).join(", ")));
    };
    let value = match (parameter, default) {
        (None, default) => default.unwrap_or_default(),
        (Some(_), None) => return Err(format!("{name} takes no parameter")),
        (Some(parameter), Some(_)) => {
            parameter.parse().map_err(|_| format!("wanted a number after {name}:, such as {name}:0.5"))?
        }
    };
    let activation = make(value);
    activation.validate().map_err(|error| error.to_string())?;
    Ok(activation)
}

/// The name and the parameter, if there is one; Swish with β = 1 is `silu`.
pub fn split(activation: Activation) -> (&'static str, Option<f32>) {
    match activation {
        Activation::Identity => ("identity", None),
        Activation::Relu => ("relu", None),
        Activation::LeakyRelu { slope } => ("leaky-relu", Some(slope)),
        Activation::Sigmoid => ("sigmoid", None),
        Activation::SILU => ("silu", None),
        Activation::Swish { beta } => ("swish", Some(beta)),
        Activation::GeluExact => ("gelu", None),
        Activation::GeluTanh => ("gelu-tanh", None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        for (name, ..) in NAMES {
            let activation = parse(name).unwrap();
            let wanted = if name == "swish" { "silu" } else { name };
            assert_eq!(split(activation).0, wanted);
        }
        assert_eq!(parse("swish:1.5"), Ok(Activation::Swish { beta: 1.5 }));
        assert_eq!(parse("leaky-relu:-0.25"), Ok(Activation::LeakyRelu { slope: -0.25 }));
        assert_eq!(parse("leaky-relu"), Ok(Activation::LeakyRelu { slope: 0.01 }));
        assert_eq!(parse("silu"), parse("swish:1"));
        for (bad, word) in [
            ("elu", "wanted one of identity"),
            ("", "wanted one of"),
            ("relu:1", "relu takes no parameter"),
            ("swish:", "wanted a number"),
            ("swish:x", "wanted a number"),
            ("swish:inf", "finite"),
            ("leaky-relu:nan", "finite"),
        ] {
            assert!(parse(bad).is_err_and(|error| error.contains(word)), "{bad}");
        }
    }
}
